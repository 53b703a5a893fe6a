"""A store on a real small disk: full while it is written to, and read-only. Skipped where mounting is forbidden."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from compose import artifact
from compose.artifact import Patch
from compose.cli import main
from compose.errors import Rejected
from compose.trust.store import Store

SIZE_KIB = 256
Make = Callable[..., Patch]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of `SIZE_KIB`."""
    place = tmp_path / "disk"
    place.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "tmpfs", str(place)) != 0:
        pytest.skip("this user may not mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*words: str) -> int:
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode
    except FileNotFoundError:
        return 1


def test_a_full_disk_is_said_and_loses_nothing(disk: Path, make_patch: Make, tmp_path: Path) -> None:
    store = Store(disk / "store")
    rows = np.random.default_rng(0).normal(size=(40, 64))  # 10 KiB each
    folders = [
        artifact.save(make_patch(rows + number, name=f"p{number}"), tmp_path / f"p{number}") for number in range(40)
    ]
    put = 0
    with pytest.raises(Rejected) as full:
        for folder in folders:
            store.put(folder)
            put += 1
    assert full.value.code == "disk-full"
    assert 5 < put < 40
    assert len(store.all()) == put
    for stored in store.all():
        assert store.get(stored.card.prefix, stored.card_digest).card == stored.card
    assert [path.name for path in store.patches.iterdir() if path.name.startswith(".")] == []

    small = artifact.save(make_patch([[1.0, 2.0]], name="small"), tmp_path / "small")
    first = store.all()[0]
    for path in (store.patches / first.entry).iterdir():
        path.unlink()
    (store.patches / first.entry).rmdir()
    assert store.put(small) in store.all()


def test_a_lock_that_does_not_fit_keeps_the_old_one(
    disk: Path, make_patch: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    for name in ("a", "b"):
        Store(store).put(artifact.save(make_patch([[1.0, 2.0]], name=name), tmp_path / name))
    manifest = tmp_path / "manifest.toml"
    assert main(["init", "a", "--name", "both", "--out", str(manifest), "--store", str(store)]) == 0
    line = ["lock", str(manifest), "--store", str(store), "--out", str(disk / "compose.lock")]
    assert main(line) == 0
    before = (disk / "compose.lock").read_bytes()
    (disk / "fill").write_bytes(b"")
    with pytest.raises(OSError, match="No space left"), (disk / "fill").open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    manifest.unlink()
    main(["init", "a", "b", "--name", "both", "--out", str(manifest), "--store", str(store)])
    capsys.readouterr()

    assert main(line) == 2
    assert capsys.readouterr().err.startswith("disk-full: ")
    assert (disk / "compose.lock").read_bytes() == before


def test_a_read_only_store_is_read_and_not_written(disk: Path, make_patch: Make, tmp_path: Path) -> None:
    store = Store(disk / "store")
    stored = store.put(artifact.save(make_patch([[1.0, 2.0]], name="a"), tmp_path / "a"))
    other = artifact.save(make_patch([[3.0, 4.0]], name="b"), tmp_path / "b")
    assert _mount("-o", "remount,ro", str(disk)) == 0

    assert store.get(stored.card.prefix, stored.card_digest).card == stored.card
    assert store.all() == (stored,)
    with pytest.raises(Rejected) as refused:
        store.put(other)
    assert refused.value.code == "read-only"
