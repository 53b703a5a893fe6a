"""Every case of the corpus, in this process and as a command of its own. No case has code here.

A case that must fail ends with a status that is not 0, names its codes, prints no traceback, and leaves no file behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compose.cli import main

ROOT = Path(__file__).parent.parent.parent
SOUND = Path(__file__).parent / "sound"
CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
NAMES = [path.name for path in CASES]
MAX_MEBIBYTES = 256
COMMAND = """\
import atexit, pathlib, re, runpy, sys
peak = pathlib.Path(sys.argv.pop(1))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
sys.argv[0] = "compose"
runpy.run_module("compose", run_name="__main__")
"""
"""`python -m compose`, which leaves its own peak in KiB: what wait4 tells counts the tests' own memory too."""
GIVEN = {"case.json", "README.md"}


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    said: str
    complained: str


class Ran(NamedTuple):
    """A command that has ended: where, what was there before, how, and how much memory it took."""

    place: Path
    before: dict[str, bytes | str]
    ended: Ended
    mebibytes: float


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return every file of a folder with its bytes, and every link with its target; locks that writers hold aside."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and name != "store/patches.lock":
            found[name] = path.read_bytes()
    return found


def judged(case: Path, place: Path, ended: Ended, before: dict[str, bytes | str]) -> None:
    """Compare how a command ended with what the case asks for."""
    wanted = json.loads((case / "case.json").read_text(encoding="utf-8"))
    fails = case.name.endswith("_fail")
    assert "Traceback" not in ended.said + ended.complained
    assert ended.status in ((1, 2) if fails else (0,)), ended.said + ended.complained
    codes = codes_of(ended, "error" if fails else "warning")
    assert set(wanted["codes"]) <= set(codes), f"found {codes}"
    if not fails and ended.said.startswith("{"):
        assert codes == wanted["codes"]
    if fails:
        assert tree(place) == before, "something was written"


def codes_of(ended: Ended, severity: str) -> list[str]:
    """Return the codes that a command has named: of its verdict's findings, or of the error that stopped it."""
    if ended.said.startswith("{"):
        findings: list[dict[str, Any]] = json.loads(ended.said)["findings"]
        return list(dict.fromkeys(one["code"] for one in findings if one["severity"] == severity))
    return re.findall(r"^([a-z-]+): ", ended.complained, flags=re.MULTILINE)


def laid_out(case: Path, tmp_path: Path) -> tuple[Path, list[str], dict[str, bytes | str]]:
    """Return a copy of a case's input, the words of its command line, and what was there before."""
    place = tmp_path / "case"
    told = json.loads((case / "case.json").read_text(encoding="utf-8"))
    without = set(told["without"])
    shutil.copytree(SOUND / told["like"], place)
    for path in without:
        (place / path).unlink()
        if not any((place / path).parent.iterdir()):
            (place / path).parent.rmdir()
    shutil.copytree(case, place, symlinks=True, dirs_exist_ok=True, ignore=lambda at, names: _kept_out(case, at, names))
    return place, told["argv"], tree(place)


def _kept_out(case: Path, at: str, names: list[str]) -> set[str]:
    """Return what of a case's folder is about the case and no input of it."""
    return GIVEN.intersection(names) if Path(at) == case else set()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_in_this_process(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, argv, before = laid_out(case, tmp_path)
    monkeypatch.chdir(place)

    status = main(argv)

    said = capsys.readouterr()
    judged(case, place, Ended(status, said.out, said.err), before)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ran]]]:
    """Yield every case as it ends as a command, several at a time: most of each is the start of Python."""
    # Taken once: pytest changes the environment with every test, while these threads start commands.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {case.name: pool.submit(command, case, tmp_path_factory.mktemp("case"), environment) for case in CASES}


def command(case: Path, tmp_path: Path, environment: Mapping[str, str]) -> Ran:
    """Return how a case ends as a command of its own."""
    place, argv, before = laid_out(case, tmp_path)
    out, err, peak = tmp_path / "out", tmp_path / "err", tmp_path / "peak"
    with out.open("wb") as said, err.open("wb") as complained:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(peak), *argv],
            cwd=place,
            env=environment,
            stdout=said,
            stderr=complained,
        )
        process.wait()

    ended = Ended(process.returncode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    return Ran(place, before, ended, int(peak.read_text(encoding="utf-8")) / 1024)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_as_a_command(case: Path, commands: dict[str, Future[Ran]]) -> None:
    ran = commands[case.name].result()

    judged(case, ran.place, ran.ended, ran.before)
    assert ran.mebibytes < MAX_MEBIBYTES


def test_there_are_enough_of_either_kind_and_each_says_why() -> None:
    assert sum(name.endswith("_fail") for name in NAMES) >= 59
    assert sum(name.endswith("_ok") for name in NAMES) >= 15
    assert all(name.endswith(("_fail", "_ok")) for name in NAMES)
    assert [path.name for path in CASES if not (path / "README.md").read_text(encoding="utf-8").strip()] == []


def test_every_fault_that_is_a_file_has_a_case() -> None:
    faults = {
        fault for path in CASES for fault in json.loads((path / "case.json").read_text(encoding="utf-8"))["faults"]
    }
    elsewhere = {21, 48, 49, 50, 51, 52, 55, 57, 58, 59}
    """What no file can be: a machine that fails, a channel over time, a rule that hangs, a file that is written to."""

    assert set(range(1, 60)) - faults == elsewhere
