"""Locks: deterministic to the byte, kept while the manifest admits them, and recomputed to the locked digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compose import algebra, artifact
from compose.artifact import Patch
from compose.errors import Rejected
from compose.trust.claims import Lock, Manifest, lock_digest
from compose.trust.difference import difference
from compose.trust.lockfile import lock_bytes, read_lock
from compose.trust.locking import make_lock, recompute, stale, universe, update_lock
from compose.trust.store import Store, Stored
from compose.trust.why import why

Put = Callable[..., Stored]
Make = Callable[..., Patch]
BASE = "sha256:" + "b" * 64
GATE = {"metric": "gender_bias/gas", "limit": 0.1}


def manifest(*patches: str, method: dict[str, Any] | None = None, **changes: Any) -> Manifest:
    """Return a manifest of patches given as "name" or "name range"."""
    wanted = [dict(zip(("name", "range"), one.split(), strict=False)) for one in patches]
    fields = {
        "schema_version": 1,
        "name": "both",
        "version": "1.0.0",
        "base": {"name": "tiny", "fingerprint": BASE},
        "method": method or {"name": "concat"},
        "patches": wanted,
        "gates": [GATE],
    }
    return Manifest.model_validate_json(json.dumps({**fields, **changes}))


@pytest.fixture
def filled(store: Store, put: Put) -> Store:
    """Return a store with toxicity 1.0.0 and 1.1.0 and bias 1.0.0, [2, 2] each."""
    put("toxicity", "1.0.0", rows=[[1.0, 2.0], [3.0, 4.0]])
    put("toxicity", "1.1.0", rows=[[1.0, 2.0], [3.0, 5.0]])
    put("bias", "1.0.0", rows=[[5.0, 6.0], [7.0, 8.0]], risks=("gender_bias",))
    return store


def test_a_lock_pins_the_newest_patches_in_order_and_their_composition(filled: Store, make_patch: Make) -> None:
    lock = make_lock(manifest("bias", "toxicity"), filled)
    expected = algebra.concat(
        make_patch([[5.0, 6.0], [7.0, 8.0]], name="bias"), make_patch([[1.0, 2.0], [3.0, 5.0]], name="toxicity")
    )

    assert [(patch.name, patch.version, patch.risks) for patch in lock.patches] == [
        ("bias", "1.0.0", ("gender_bias",)),
        ("toxicity", "1.1.0", ("toxicity",)),
    ]
    assert (lock.result.digest, lock.result.tokens, lock.result.dim) == (expected.card.prefix, 4, 2)
    assert lock.result.expression == expected.card.expression


def test_a_lock_is_the_same_to_the_byte_in_every_store_with_the_same_patches(
    filled: Store, tmp_path: Path, make_patch: Make
) -> None:
    wanted = manifest("toxicity", "bias", method={"name": "mean", "params": {"weights": [0.3, 0.7]}})
    other = Store(tmp_path / "other")
    for stored in reversed(filled.all()):
        other.put(filled.patches / stored.entry)
    made = {lock_bytes(make_lock(wanted, store)) for store in (filled, other, Store(filled.root))}

    assert len(made) == 1


def test_a_patch_added_and_removed_again_leaves_the_identical_lock(filled: Store, put: Put) -> None:
    put("guard", "1.0.0", conflicts=({"name": "toxicity", "range": ">=1.1.0"},))
    one = manifest("toxicity", "bias")
    first = make_lock(one, filled)
    added = update_lock(manifest("toxicity", "bias", "guard"), filled, first)
    removed = update_lock(one, filled, added)

    assert [patch.version for patch in added.patches] == ["1.0.0", "1.0.0", "1.0.0"]
    assert lock_bytes(removed) == lock_bytes(first)


def test_a_newer_patch_makes_no_lock_stale(filled: Store, put: Put) -> None:
    wanted = manifest("toxicity", "bias")
    lock = make_lock(wanted, filled)
    put("toxicity", "1.2.0")

    assert list(stale(lock, wanted, filled)) == []
    assert update_lock(wanted, filled, lock) == lock
    assert update_lock(wanted, filled, lock, upgrade=True).patches[0].version == "1.2.0"


@pytest.mark.parametrize(
    ("changed", "reason", "keeps"),
    [
        (manifest("toxicity ^1.0.0", "bias"), None, True),
        (manifest("toxicity", "bias", gates=[{**GATE, "limit": 0.2}]), "the manifest's gates is another", True),
        (manifest("toxicity", "bias", version="1.1.0"), "the manifest's version is another", True),
        (manifest("toxicity ==1.0.0", "bias"), "toxicity 1.1.0 is not in ==1.0.0", False),
        (manifest("bias", "toxicity"), "the manifest names bias, toxicity, in this order", False),
        (manifest("toxicity"), "the manifest names toxicity, in this order", False),
    ],
)
def test_a_lock_is_kept_as_long_as_the_manifest_admits_its_patches(
    filled: Store, put: Put, changed: Manifest, reason: str | None, keeps: bool
) -> None:
    lock = make_lock(manifest("toxicity", "bias"), filled)
    put("toxicity", "1.2.0")
    reasons = list(stale(lock, changed, filled))
    updated = update_lock(changed, filled, lock)

    assert [one for one in reasons if reason is None or reason not in one] == []
    assert bool(reasons) == (reason is not None)
    assert (updated.patches == lock.patches) == keeps
    assert list(stale(updated, changed, filled)) == []


def test_a_lock_whose_patch_is_gone_is_stale(filled: Store) -> None:
    wanted = manifest("toxicity", "bias")
    lock = make_lock(wanted, filled)
    newest = filled.versions("toxicity")[0]
    shutil.rmtree(filled.patches / newest.entry)

    assert any("toxicity 1.1.0" in reason for reason in stale(lock, wanted, filled))
    assert update_lock(wanted, filled, lock).patches[0].version == "1.0.0"
    with pytest.raises(Rejected, match="store-missing"):
        recompute(lock, filled)


def test_a_lock_recomputes_to_its_result(filled: Store) -> None:
    lock = make_lock(manifest("bias", "toxicity"), filled)

    assert recompute(lock, filled).card.prefix == lock.result.digest
    assert np.array_equal(recompute(lock, filled).values, [[5.0, 6.0], [7.0, 8.0], [1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("lock-invalid", lambda fields: fields["result"].update(digest="sha256:" + "0" * 64)),
        ("lock-invalid", lambda fields: fields["result"].update(tokens=3)),
        ("lock-invalid", lambda fields: fields["result"].update(dim=3)),
        ("lock-invalid", lambda fields: fields["result"].update(expression="concat(a)")),
        ("lock-invalid", lambda fields: fields["patches"].reverse()),
        ("lock-invalid", lambda fields: fields["patches"][0].update(version="9.0.0")),
        ("lock-invalid", lambda fields: fields["patches"][0].update(name="other")),
        ("lock-invalid", lambda fields: fields["patches"][0].update(risks=[])),
        ("lock-invalid", lambda fields: fields["patches"][0].update(tokens=1)),
        ("lock-invalid", lambda fields: fields["method"].update(params={"weights": [0.9, 0.1]})),
        ("composition-invalid", lambda fields: fields["method"].update(params={"weights": [0.9, 0.2]})),
        ("composition-invalid", lambda fields: fields["method"].update(params={"wieghts": [0.5, 0.5]})),
        ("composition-invalid", lambda fields: fields["method"].update(params={"weights": "sha256:" + "0" * 64})),
        ("store-missing", lambda fields: fields["method"].update(name="sum", params={"init": "sha256:" + "0" * 64})),
        ("lock-invalid", lambda fields: fields["method"].update(name="concat", params={})),
        ("base-mismatch", lambda fields: fields["base"].update(fingerprint="sha256:" + "0" * 64)),
    ],
)
def test_a_lock_that_says_what_is_not_so_is_found_out(filled: Store, code: str, edit: Any) -> None:
    lock = make_lock(manifest("toxicity", "bias", method={"name": "mean", "params": {"weights": [0.5, 0.5]}}), filled)
    fields = lock.model_dump(mode="json")
    edit(fields)
    forged = read_lock(lock_bytes(Lock.model_validate_json(json.dumps(fields))))  # with a digest that is right

    assert lock_digest(forged) != lock_digest(lock)
    with pytest.raises(Rejected) as error:
        recompute(forged, filled)
    assert error.value.code == code


def test_a_sum_finds_its_init_in_the_store(store: Store, put: Put) -> None:
    start = put("start", rows=[[1.0, 1.0]], risks=())
    init = {"kind": "random", "digest": start.card.prefix}
    put("a", rows=[[2.0, 3.0]], init=init)
    put("b", rows=[[5.0, 2.0]], init=init)
    lock = make_lock(manifest("a", "b", method={"name": "sum", "params": {"init": start.card.prefix}}), store)

    assert recompute(lock, store).values.tolist() == [[6.0, 4.0]]


def test_locks_that_differ_say_how(filled: Store, put: Put) -> None:
    old = make_lock(manifest("toxicity ==1.0.0", "bias"), filled)
    new = make_lock(
        manifest("bias", "toxicity", "guard", gates=[{**GATE, "limit": 0.2}], version="2.0.0"), _with_guard(filled, put)
    )
    lines = [str(change) for change in difference(old, new)]

    assert "~ composition: both 1.0.0 -> both 2.0.0" in lines
    assert "~ patch toxicity: 1.0.0 -> 1.1.0" in lines
    assert "~ order: toxicity, bias -> bias, toxicity" in lines
    assert "- gate: gender_bias/gas limit=0.1" in lines
    assert "+ gate: gender_bias/gas limit=0.2" in lines
    assert "~ tokens: 4 -> 6" in lines
    assert [line for line in lines if line.startswith("+ patch guard: 1.0.0, 2 tokens, sha256:")]
    assert difference(old, old) == ()


def test_a_new_version_of_one_matrix_shows_its_card(store: Store, put: Put) -> None:
    put("toxicity", "1.0.0", rows=[[1.0, 2.0]])
    old = make_lock(manifest("toxicity"), store)
    put("toxicity", "1.0.1", rows=[[1.0, 2.0]], seed=5)
    lines = [str(change) for change in difference(old, make_lock(manifest("toxicity"), store))]

    assert lines[0] == "~ patch toxicity: 1.0.0 -> 1.0.1"
    assert lines[1].startswith("~ card of toxicity: sha256:")
    assert len(lines) == 2


def test_a_composition_may_have_a_name_that_its_parts_conflict_with(store: Store, put: Put) -> None:
    put("toxicity", conflicts=({"name": "both"}, {"name": "harm"}))
    lock = make_lock(manifest("toxicity"), store)

    assert [relation.name for relation in recompute(lock, store).card.conflicts] == ["harm"]


def _with_guard(store: Store, put: Put) -> Store:
    put("guard")
    return store


@pytest.mark.parametrize("field", sorted(set(Lock.model_fields) - {"schema_version"}))
def test_no_difference_is_silent(filled: Store, field: str) -> None:
    lock = make_lock(manifest("toxicity", "bias"), filled)
    zeros = "sha256:" + "0" * 64
    other = {
        "manifest": zeros,
        "name": "other",
        "version": "2.0.0",
        "base": {"name": "tiny", "fingerprint": zeros},
        "method": {"name": "mean", "params": {}},
        "patches": [{**lock.patches[0].model_dump(mode="json"), "card": zeros}],
        "result": {**lock.result.model_dump(mode="json"), "dim": 3},
        "gates": [GATE, GATE],
        "suites": ["toxicity"],
        "require_signed_patches": True,
    }
    changed = Lock.model_validate_json(json.dumps({**lock.model_dump(mode="json"), field: other[field]}))

    assert difference(lock, changed) != ()


def test_why_says_who_asks_and_why_no_other_version(filled: Store, put: Put) -> None:
    put("toxicity", "2.0.0", conflicts=({"name": "bias"},))
    put("guard", requires=({"name": "toxicity", "range": "^1.0.0"},), breaks=({"name": "bias", "range": "<1.0.0"},))
    wanted = manifest("bias", "toxicity", "guard")
    lock = make_lock(wanted, filled)
    put("toxicity", "1.2.0")

    assert why("toxicity", wanted, lock, universe(filled)) == (
        "toxicity 1.1.0 is patch 2 of 3 in both 1.0.0",
        "the manifest asks for toxicity *",
        "guard 1.0.0 requires toxicity ^1.0.0, which it is or provides",
        "not 2.0.0: toxicity 2.0.0 conflicts with bias; guard 1.0.0 requires toxicity ^1.0.0",
        "not 1.2.0: the lock was made without it; `compose lock --upgrade` takes the newest",
        "not 1.0.0: it is older",
    )
    assert why("guard", wanted, lock, universe(filled))[2:] == (
        "it breaks bias <1.0.0, which bias 1.0.0 is not",
        "it requires toxicity ^1.0.0, which toxicity 1.1.0 is or provides",
    )
    assert "guard 1.0.0 breaks bias <1.0.0, which it is not" in why("bias", wanted, lock, universe(filled))
    with pytest.raises(Rejected, match="one of bias, toxicity, guard"):
        why("other", wanted, lock, universe(filled))


def test_patches_of_another_base_are_not_locked(store: Store, put: Put) -> None:
    put("toxicity")
    with pytest.raises(Rejected, match="is for the base sha256:bbbb"):
        make_lock(manifest("toxicity", base={"name": "tiny", "fingerprint": "sha256:" + "0" * 64}), store)


def test_a_stored_patch_loads_as_the_patch_that_was_put(filled: Store) -> None:
    stored = filled.versions("bias")[0]
    assert artifact.load(filled.patches / stored.entry).card == stored.card
