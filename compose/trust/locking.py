"""From a manifest and a store to a lock, and from a lock back to its patch: pure functions of bytes, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compose.errors import Rejected
from compose.patch_files import PlainPatch
from compose.records import Claim
from compose.trust.claims import Lock, Manifest, manifest_digest
from compose.trust.composition import composed, result_claim
from compose.trust.resolve import Universe, objections, resolve
from compose.trust.store import Store, Stored

COPIED = ("name", "version", "base", "method", "gates", "suites", "require_signed_patches")
"""What a lock repeats from its manifest."""


def universe(store: Store) -> Universe:
    """Return every patch of a store by its name.

    Raises:
        Rejected: `store-damaged`.
    """
    found: dict[str, list[Stored]] = {}
    for stored in store.all():
        found.setdefault(stored.card.name, []).append(stored)
    return found


def make_lock(manifest: Manifest, store: Store) -> Lock:
    """Return the lock of the newest versions that fulfil a manifest together: the same bytes on every machine.

    Raises:
        Rejected: `resolve-impossible`, `resolve-too-hard`, `store-damaged`; and as the method does, when it cannot be
            applied to the patches.
    """
    return _lock(manifest, resolve(manifest, universe(store)), store)


def update_lock(manifest: Manifest, store: Store, old: Lock, *, upgrade: bool = False) -> Lock:
    """Return the lock that answers a manifest now: `old` with its patches, as long as the manifest admits them.

    Args:
        manifest: What is asked for.
        store: Where the patches are.
        old: The lock made before.
        upgrade: Whether newer versions are taken although the old ones still do.

    Raises:
        Rejected: As `make_lock`.
    """
    if upgrade or any(stale(old, manifest, store, of_patches_alone=True)):
        return make_lock(manifest, store)
    return _lock(manifest, _chosen(old, store), store)


def stale(lock: Lock, manifest: Manifest, store: Store, *, of_patches_alone: bool = False) -> Iterator[str]:
    """Yield why a lock does not answer a manifest; nothing when it does. A newer patch in the store is no reason.

    Args:
        lock: The lock.
        manifest: What is asked for.
        store: Where the patches are.
        of_patches_alone: Whether only the patches matter, and not what else a lock repeats.
    """
    if not of_patches_alone:
        for field in COPIED:
            if getattr(lock, field) != getattr(manifest, field):
                yield f"the manifest's {field} is another"
    there = {stored.locked: stored for stored in store.all()}
    missing = [patch for patch in lock.patches if patch not in there]
    for patch in missing:
        yield f"{patch.name} {patch.version} ({patch.digest[:19]}...) is not in the store"
    if not missing:
        yield from objections(manifest, [there[patch] for patch in lock.patches])


def recompute(lock: Lock, store: Store) -> PlainPatch:
    """Return the patch that a lock describes, made anew from the store's bytes.

    Raises:
        Rejected: `store-missing` or `store-damaged`; `lock-invalid` when what comes out is not the lock's result, or
            when the lock says of a patch what its card does not; and as the method does.
    """
    members = [store.get(patch.digest, patch.card) for patch in lock.patches]
    for locked, member in zip(lock.patches, members, strict=True):
        said = Stored(member.card, locked.card).locked
        if said != locked:
            raise _untrue(lock, locked, said)
    patch = _applied(lock, members, store)
    result = result_claim(patch)
    if result != lock.result:
        raise _untrue(lock, lock.result, result)
    return patch


def _chosen(lock: Lock, store: Store) -> tuple[Stored, ...]:
    """Return a lock's patches as the store has them; all of them are there."""
    there = {stored.locked: stored for stored in store.all()}
    return tuple(there[patch] for patch in lock.patches)


def _lock(manifest: Manifest, chosen: Sequence[Stored], store: Store) -> Lock:
    """Return the lock of chosen patches."""
    members = [store.get(stored.card.prefix, stored.card_digest) for stored in chosen]
    return Lock(
        schema_version=1,
        manifest=manifest_digest(manifest),
        patches=tuple(stored.locked for stored in chosen),
        result=result_claim(_applied(manifest, members, store)),
        **{field: getattr(manifest, field) for field in COPIED},
    )


def _applied(claim: Manifest | Lock, members: Sequence[PlainPatch], store: Store) -> PlainPatch:
    """Return what the method makes of the members."""
    for member in members:
        if member.card.base.fingerprint != claim.base.fingerprint:
            raise Rejected(
                "base-mismatch",
                subject=f"{member.card.name} {member.card.version} in {claim.name} {claim.version}",
                expected=f"the base {claim.base.name}, {claim.base.fingerprint}",
                got=str(member.card.base.fingerprint),
                fix="compose patches of the base that is named, or name their base",
            )
    start = claim.method.params.get("init")
    return composed(claim, members, store.find(start) if isinstance(start, str) else None)


def _untrue(lock: Lock, claimed: Claim, found: Claim) -> Rejected:
    """Return the error about a lock that says what is not so."""
    said, so = claimed.model_dump(), found.model_dump()
    wrong = [key for key in said if said[key] != so[key]]
    return Rejected(
        "lock-invalid",
        subject=f"lock of {lock.name} {lock.version}",
        expected=", ".join(f"{key} {so[key]}" for key in wrong),
        got=", ".join(f"{key} {said[key]}" for key in wrong),
        fix="make it again with `compose lock`; it is not edited by hand",
    )
