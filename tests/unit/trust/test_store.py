"""The store: what is put is found again, under its own digests, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compose import artifact, digest
from compose.artifact import Patch
from compose.errors import Rejected
from compose.trust.store import Store, Stored

Put = Callable[..., Stored]
Make = Callable[..., Patch]
DIGEST = "sha256:" + "0" * 64
UPDATES = int(os.environ.get("COMPOSE_UPDATES", "40"))
"""Patches that four writers put into one store; `make updates` takes 1,200."""


def refused(code: str, work: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as error:
        work()
    assert error.value.code == code
    return error.value.got


def test_a_patch_is_found_again_under_its_digests(store: Store, make_patch: Make, tmp_path: Path) -> None:
    patch = make_patch([[1.0, 2.0]], name="tox", version="1.2.0")
    stored = store.put(artifact.save(patch, tmp_path / "tox"))
    contents = store.get(stored.card.prefix, stored.card_digest)

    assert contents.card == patch.card
    assert np.array_equal(contents.values, [[1.0, 2.0]])
    assert stored.card_digest == digest.of_bytes((tmp_path / "tox" / "patch.json").read_bytes())
    assert (stored.locked.name, stored.locked.version, stored.locked.tokens) == ("tox", "1.2.0", 1)
    assert artifact.load(store.patches / stored.entry).card == patch.card


def test_versions_come_from_the_newest_to_the_oldest(store: Store, put: Put) -> None:
    for version in ("1.9.0", "0.1.0", "1.10.0", "2.0.0"):
        put("tox", version)
    put("bias", "3.0.0")

    assert [stored.card.version for stored in store.versions("tox")] == ["2.0.0", "1.10.0", "1.9.0", "0.1.0"]
    assert [stored.card.name for stored in store.all()] == ["bias"] + ["tox"] * 4
    assert store.versions("other") == ()


def test_a_store_that_was_never_written_to_is_empty(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").all() == ()
    assert list(tmp_path.iterdir()) == []


def test_putting_a_patch_again_changes_nothing(store: Store, put: Put) -> None:
    first = put("tox", rows=[[1.0, 2.0]])
    before = sorted((path, path.stat().st_mtime_ns) for path in store.patches.rglob("*"))
    again = put("tox", rows=[[1.0, 2.0]])

    assert again == first
    assert sorted((path, path.stat().st_mtime_ns) for path in store.patches.rglob("*")) == before


def test_a_name_and_version_are_given_once(store: Store, put: Put) -> None:
    put("tox", rows=[[1.0, 2.0]])

    assert "another matrix" in refused("store-conflict", lambda: put("tox", rows=[[1.0, 3.0]]))
    assert "another card" in refused("store-conflict", lambda: put("tox", rows=[[1.0, 2.0]], seed=3))
    assert len(store.all()) == 1


def test_a_patch_may_get_another_name_and_version(store: Store, make_patch: Make, tmp_path: Path) -> None:
    folder = artifact.save(make_patch([[1.0, 2.0]], name="specialist-tox"), tmp_path / "tox")
    stored = store.put(folder, name="tox", version="3.1.4")

    assert stored.label == "tox 3.1.4"
    assert store.get(stored.card.prefix, stored.card_digest).card == stored.card
    assert refused("card-invalid", lambda: store.put(folder, version="3.1"))
    assert refused("card-invalid", lambda: store.put(folder, name="../tox"))


def test_a_patch_without_a_card_is_not_put(store: Store, make_patch: Make, tmp_path: Path) -> None:
    folder = artifact.save(make_patch([[1.0, 2.0]]), tmp_path / "tox")
    (folder / "patch.json").unlink()

    refused("artifact-missing", lambda: store.put(folder))
    assert not store.root.exists()


def test_a_patch_that_is_not_there_is_missing(store: Store, put: Put) -> None:
    stored = put("tox")

    refused("store-missing", lambda: store.get(stored.card.prefix, DIGEST))
    refused("store-missing", lambda: store.get(DIGEST, stored.card_digest))
    refused("store-missing", lambda: Store(store.root / "none").get(stored.card.prefix, stored.card_digest))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "patch.json"])
def test_a_folder_that_holds_another_patch_is_damaged(store: Store, put: Put, name: str) -> None:
    good, other = put("tox", rows=[[1.0, 2.0]]), put("bias", rows=[[5.0, 6.0], [7.0, 8.0]])
    shutil.copy(store.patches / other.entry / name, store.patches / good.entry / name)

    refused("store-damaged", lambda: store.get(good.card.prefix, good.card_digest))
    if name == "patch.json":
        refused("store-damaged", store.all)


def test_a_whole_other_patch_in_a_folder_is_damage(store: Store, put: Put) -> None:
    good, other = put("tox", rows=[[1.0, 2.0]]), put("bias", rows=[[5.0, 6.0]])
    shutil.rmtree(store.patches / good.entry)
    shutil.copytree(store.patches / other.entry, store.patches / good.entry)

    assert other.card.prefix in refused("store-damaged", lambda: store.get(good.card.prefix, good.card_digest))
    refused("store-damaged", store.all)


@pytest.mark.parametrize(
    "damage",
    [
        lambda store, entry: (store.patches / entry / "patch.json").unlink(),
        lambda store, entry: (store.patches / entry).rename(store.patches / "tox"),
        lambda store, entry: (store.patches / entry).rename(store.patches / ("0" * 64 + "-" + "0" * 64)),
        lambda store, entry: (store.root / "store.json").unlink(),
        lambda store, entry: (store.root / "store.json").write_text('{"layout": 0}'),
        lambda store, entry: (store.root / "store.json").write_text("layout 1"),
        lambda store, entry: (store.patches / "note.txt").write_text("x"),
    ],
    ids=["no card", "other name", "other digests", "no layout", "older layout", "no json", "a stray file"],
)
def test_damage_is_said_and_nothing_is_guessed(store: Store, put: Put, damage: Any) -> None:
    stored = put("tox")
    damage(store, stored.entry)

    refused("store-damaged", store.all)
    refused("store-damaged", lambda: put("bias"))


def test_leftovers_of_a_dead_writer_are_swept(store: Store, put: Put) -> None:
    put("tox")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    from compose.durable import _host

    leftover = store.patches / f".compose-tmp-{_host()}-{dead.pid}-abc"
    leftover.mkdir()
    assert len(store.all()) == 1
    put("bias")

    assert not leftover.exists()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_a_writer_stopped_at_any_step_loses_nothing(
    store: Store, make_patch: Make, tmp_path: Path, sent: signal.Signals
) -> None:
    """A child is sent a signal at its 1st, 2nd, ... look at the disk, until one gets to the end."""
    first = store.put(artifact.save(make_patch([[1.0, 2.0]], name="first"), tmp_path / "first"))
    folder = artifact.save(make_patch([[3.0, 4.0]], name="second"), tmp_path / "second")
    stops = 0
    while _stopped_at(stops + 1, sent, store, folder):
        stops += 1
        found = store.all()
        assert first in found
        for stored in found:
            store.get(stored.card.prefix, stored.card_digest)
        if len(found) == 2:
            shutil.rmtree(store.patches / next(one.entry for one in found if one != first))
    assert stops >= 60
    assert len(store.all()) == 2
    assert [path.name for path in store.patches.iterdir() if path.name.startswith(".")] == []


def _stopped_at(step: int, sent: signal.Signals, store: Store, folder: Path) -> bool:
    """Put a patch in a child that is sent a signal at a step; return whether that stopped it."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
        seen, status = 0, 1

        def count(event: str, arguments: object) -> None:
            nonlocal seen
            if event.startswith(("open", "os.", "shutil.", "tempfile.")):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), sent)

        sys.addaudithook(count)
        try:
            store.put(folder)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return ended != 0


def test_four_writers_lose_no_patch(store: Store, make_patch: Make, tmp_path: Path) -> None:
    each = UPDATES // 4
    for writer in range(4):
        for number in range(each):
            patch = make_patch([[1.0 + writer, 2.0 + number]], name=f"w{writer}", version=f"1.{number}.0")
            artifact.save(patch, tmp_path / f"{writer}-{number}")
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for number in range(each):
                    Store(store.root).put(tmp_path / f"{writer}-{number}")
                status = 0
            finally:
                os._exit(status)
        children.append(child)

    assert [os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert {(one.card.name, one.card.version) for one in store.all()} == {
        (f"w{writer}", f"1.{number}.0") for writer in range(4) for number in range(each)
    }


def test_a_full_disk_keeps_what_is_there(
    store: Store, put: Put, make_patch: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put("first")
    folder = artifact.save(make_patch([[3.0, 4.0]], name="second"), tmp_path / "second")
    real = os.fsync
    for allowed in range(8):
        left = iter(range(allowed))

        def full(handle: int, left: Any = left) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            real(handle)

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", full)
            try:
                store.put(folder)
            except Rejected as error:
                assert error.code == "disk-full"
        for stored in store.all():
            store.get(stored.card.prefix, stored.card_digest)
        assert first in store.all()
        shutil.rmtree(
            next((path for path in store.patches.iterdir() if path.name != first.entry), tmp_path / "no"), True
        )


def test_a_reader_takes_no_patch_that_is_swapped_under_it(store: Store, put: Put, tmp_path: Path) -> None:
    """One process swaps a patch's folder for another's; 400 reads give the patch that was asked for, or refuse."""
    good, other = put("tox", rows=[[1.0, 2.0]]), put("bias", rows=[[5.0, 6.0]])
    mine, aside, forged = store.patches / good.entry, tmp_path / "aside", tmp_path / "forged"
    shutil.copytree(store.patches / other.entry, forged)
    child = os.fork()
    if child == 0:
        while True:  # until it is killed
            mine.rename(aside)
            forged.rename(mine)
            mine.rename(forged)
            aside.rename(mine)
            os.sched_yield()  # on a machine of one core the reader must meet the right patch at times
    taken = 0
    try:
        for _ in range(400):
            try:
                patch = store.get(good.card.prefix, good.card_digest)
            except Rejected:
                continue
            assert patch.card == good.card
            assert patch.values.tolist() == [[1.0, 2.0]]
            taken += 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    assert taken
