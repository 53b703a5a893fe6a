"""No damaged byte changes what a manifest, a lock or a store means unseen: it is refused, or it says what it says."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose import artifact
from compose.artifact import Patch
from compose.errors import Rejected
from compose.trust.claims import Lock, Manifest
from compose.trust.initial import initial_manifest
from compose.trust.lockfile import lock_bytes, read_lock
from compose.trust.locking import make_lock, recompute
from compose.trust.manifest import read_manifest
from compose.trust.store import Store, Stored
from tests.properties.mutations import EXAMPLES, mutated

Made = tuple[Store, bytes, Lock]


@pytest.fixture(scope="module")
def made(make_patch: Callable[..., Patch], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A store of two patches, the bytes of a manifest of them, and its lock."""
    root = tmp_path_factory.mktemp("made")
    stored: list[Stored] = []
    store = Store(root / "store")
    for name, rows in (("toxicity", [[1.0, -2.0]]), ("bias", [[0.5, 0.25]])):
        stored.append(store.put(artifact.save(make_patch(rows, name=name, version="1.2.3"), root / name)))
    text = initial_manifest(
        stored, name="both", version="1.0.0", method="mean", params={"weights": (0.25, 0.75)}, pinned=True
    ).encode()
    return store, text, make_lock(read_manifest(text), store)


def same(read: Any, written: Any) -> bool:
    """Return whether a record has the very values of a text: a whole number may stand for a float, and nothing else."""
    if isinstance(written, dict):
        return isinstance(read, dict) and set(read) == set(written) and all(same(read[k], written[k]) for k in written)
    if isinstance(written, list):
        return isinstance(read, list) and len(read) == len(written) and all(map(same, read, written))
    if type(written) is int and type(read) is float:
        return read == written
    return type(read) is type(written) and bool(read == written)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_manifest_is_refused_or_read_as_it_is_written(made: Made, data: st.DataObject) -> None:
    text = mutated(data, made[1])
    try:
        manifest = read_manifest(text)
    except Rejected as error:
        assert error.code == "manifest-invalid"
        return
    assert same(
        manifest.model_dump(mode="json", exclude_unset=True), tomllib.loads(text.decode().replace("\r\n", "\n"))
    )
    assert manifest.gates
    assert read_manifest(text) == manifest == Manifest.model_validate_json(manifest.model_dump_json())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_lock_is_refused_or_the_same(made: Made, data: st.DataObject) -> None:
    original = lock_bytes(made[2])
    try:
        read = read_lock(mutated(data, original))
    except Rejected as error:
        assert error.code == "lock-invalid"
        return
    assert lock_bytes(read) == original


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_lock_mutated_under_a_right_digest_is_refused_or_recomputes(made: Made, data: st.DataObject) -> None:
    """Whoever edits a lock can also write its digest; then the store's bytes must say the same."""
    store, _, lock = made
    fields = lock.model_dump(mode="json")
    part = data.draw(st.sampled_from(["patches", "result", "method", "base"]))
    try:
        fields[part] = json.loads(mutated(data, json.dumps(fields[part]).encode()))
        forged = Lock.model_validate_json(json.dumps(fields))
    except (ValueError, RecursionError):  # no lock at all
        return
    try:
        patch = recompute(forged, store)
    except Rejected:
        return
    assert forged.patches == lock.patches
    assert (forged.result, patch.card.prefix) == (lock.result, lock.result.digest)
    assert forged.base.fingerprint == lock.base.fingerprint


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_store_is_damaged_or_gives_the_same(made: Made, data: st.DataObject) -> None:
    store, _, lock = made
    pinned = lock.patches[0]
    folder = next(path for path in store.patches.iterdir() if path.name.startswith(pinned.digest[7:]))
    name = data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(mutated(data, original))
    try:
        patch = store.get(pinned.digest, pinned.card)
    except Rejected as error:
        assert error.code == "store-damaged"
    else:
        assert patch.card.prefix == pinned.digest
        assert patch.values.tolist() == [[1.0, -2.0]]
    finally:
        (folder / name).write_bytes(original)


def test_a_mutated_layout_is_refused_or_the_same(made: Made, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(made[0].root, store.root)
    layout = store.root / "store.json"
    original = layout.read_bytes()
    for at in range(len(original)):
        for byte in (0, 32, 48, 255):
            layout.write_bytes(original[:at] + bytes([byte]) + original[at + 1 :])
            try:
                assert len(store.all()) == 2
                assert json.loads(layout.read_bytes()) == json.loads(original)
            except Rejected as error:
                assert error.code == "store-damaged"
