"""Several writers at once, and writers that are killed: no key, release or yank that was acknowledged is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from compose.trust.keyring import read_keyring
from compose.trust.keys import load_signer
from tests.unit.trust.shop import NOON, Shop, open_shop

ROOT = Path(__file__).parents[2]

MAKE_KEYS = """
import sys
from pathlib import Path
from compose.trust.keys import new_key
from tests.unit.trust.shop import NOON
for number in range(10):
    new_key(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", "author", now=NOON)
"""

RELEASE = """
import sys
from pathlib import Path
from datetime import timedelta
from tests.unit.trust.shop import Shop, NOON
shop = Shop(Path(sys.argv[1]), now=NOON + timedelta(seconds=int(sys.argv[3])))
for number in range(int(sys.argv[4]), int(sys.argv[5])):
    shop.release(f"1.{number}.0", sys.argv[2])
    print(number, flush=True)
"""


def started(program: str, *words: object) -> subprocess.Popen[str]:
    """Return a process that runs a program of this file."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_four_processes_make_forty_keys(tmp_path: Path) -> None:
    processes = [started(MAKE_KEYS, tmp_path / "keys", f"p{number}") for number in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4

    names = {key.name for key in read_keyring(tmp_path / "keys").keys}
    assert names == {f"p{process}-{number}" for process in range(4) for number in range(10)}
    assert all(load_signer(tmp_path / "keys", name, "author", now=NOON) for name in names)


def test_four_processes_release_to_one_channel(tmp_path: Path) -> None:
    shop = open_shop(tmp_path)
    processes = [started(RELEASE, tmp_path, f"name-{number}", 1, 0, 5) for number in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4

    shop.advance(days=1)
    with shop.open() as reader:
        found = {name: [event.version for event in reader.history(name).events] for name in reader.names()}
    assert found == {f"name-{number}": [f"1.{minor}.0" for minor in range(5)] for number in range(4)}


def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    shop = open_shop(tmp_path)
    shop.release("1.0.0", "calm")
    done = 0
    for kill in range(10):
        process = started(RELEASE, tmp_path, "calm", 1000 * (kill + 1), done + 1, 10_000)
        assert process.stdout is not None
        line = process.stdout.readline()  # it is at work
        time.sleep(0.013 * kill)  # and is hit at another place each time
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        acknowledged = int((line + rest).split()[-1])

        current = Shop(tmp_path, now=NOON + timedelta(days=1)).current(who=f"reader-{kill}")
        done = int(current.split(".")[1])
        assert done in (acknowledged, acknowledged + 1)  # the last one may be whole, and its writer not have said so
    assert done >= 10
