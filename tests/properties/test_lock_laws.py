"""A patch that comes and goes leaves a lock as it was: on random stores of patches with random relations."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compose import artifact
from compose.artifact import Patch
from compose.errors import Rejected
from compose.trust.claims import Lock, Manifest
from compose.trust.lockfile import lock_bytes
from compose.trust.locking import make_lock, update_lock
from compose.trust.store import Store

Make = Callable[..., Patch]

STORES = 40
MEMBERS = ("toxicity", "bias", "harm")
GUEST = "guest"
VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
RANGES = ("*", "^1.0.0", ">=1.1.0", "<2.0.0")


def manifest(names: list[str]) -> Manifest:
    """Return a manifest of any versions of some patches, in this order."""
    return Manifest.model_validate(
        {
            "schema_version": 1,
            "name": "all",
            "version": "1.0.0",
            "base": {"name": "tiny", "fingerprint": "sha256:" + "b" * 64},
            "method": {"name": "concat"},
            "patches": tuple({"name": name} for name in names),
            "gates": ({"metric": "gender_bias/gas", "limit": 0.1},),
        }
    )


def relations(draw: random.Random, name: str) -> dict[str, Any]:
    """Return relations of one patch to others, by chance."""
    others = [other for other in (*MEMBERS, GUEST) if other != name]
    chances = {"requires": 0.1, "conflicts": 0.3, "breaks": 0.15}
    return {
        kind: ({"name": draw.choice(others), "range": draw.choice(RANGES)},)
        for kind, chance in chances.items()
        if draw.random() < chance
    }


def test_a_patch_that_is_added_and_taken_out_again_leaves_the_identical_lock(make_patch: Make, tmp_path: Path) -> None:
    draw = random.Random(20261125)
    came = {"refused": 0, "moved others": 0, "moved nobody": 0}
    for number in range(STORES):
        store = Store(tmp_path / f"store-{number}")

        def add(name: str, number: int = number, store: Store = store) -> None:
            for version in draw.sample(VERSIONS, draw.randint(1, 3)):
                rows = [[draw.gauss(0, 1), draw.gauss(0, 1)]]
                patch = make_patch(rows, name=name, version=version, **relations(draw, name))
                store.put(artifact.save(patch, tmp_path / f"{number}-{name}-{version}"))

        names = draw.sample(MEMBERS, draw.randint(1, 3))
        for name in MEMBERS:
            add(name)
        wanted = manifest(names)
        try:
            first = make_lock(wanted, store)
        except Rejected:
            continue
        before = lock_bytes(first)

        add(GUEST)
        assert lock_bytes(make_lock(wanted, store)) == before
        assert lock_bytes(update_lock(wanted, store, first)) == before

        at = draw.randint(0, len(names))
        held = first
        try:
            held = update_lock(manifest([*names[:at], GUEST, *names[at:]]), store, first)
        except Rejected as error:
            assert error.code == "resolve-impossible"
            came["refused"] += 1
        else:
            assert len(held.patches) == len(names) + 1
            came["moved nobody" if members_of(held) == first.patches else "moved others"] += 1
        assert lock_bytes(update_lock(wanted, store, held)) == before

    assert min(came.values()) >= 2, came  # each of them was really tried


def members_of(lock: Lock) -> tuple[object, ...]:
    """Return the patches of a lock without the guest."""
    return tuple(patch for patch in lock.patches if patch.name != GUEST)
