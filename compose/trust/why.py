"""Why a patch is in a lock, in this version and in no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compose.errors import Rejected
from compose.records import Relation
from compose.trust.claims import Lock, Manifest
from compose.trust.ranges import number
from compose.trust.resolve import Universe, concerns, objections, relations_of
from compose.trust.store import Stored


def why(name: str, manifest: Manifest, lock: Lock, universe: Universe) -> tuple[str, ...]:
    """Return sentences: who asks for a patch, which relations concern it, and why not another version.

    Args:
        name: Name of the patch.
        manifest: The manifest of the lock.
        lock: The lock.
        universe: Every patch at hand, by name.

    Raises:
        Rejected: `store-missing`, when the lock does not have the patch, or the store lacks one of the lock's.
    """
    there = {stored.locked: stored for versions in universe.values() for stored in versions}
    missing = [patch for patch in lock.patches if patch not in there]
    if missing or name not in {patch.name for patch in lock.patches}:
        raise Rejected(
            "store-missing",
            subject=f"{name} in {lock.name} {lock.version}",
            expected=f"one of {', '.join(patch.name for patch in lock.patches)}, all of them in the store",
            got=", ".join(f"{patch.name} {patch.version} is not in the store" for patch in missing) or "another name",
            fix="a composition has the patches that its manifest names; `compose add` puts patches into the store",
        )
    chosen = [there[patch] for patch in lock.patches]
    at = [stored.card.name for stored in chosen].index(name)
    return (
        f"{chosen[at].label} is patch {at + 1} of {len(chosen)} in {lock.name} {lock.version}",
        *_asked(name, manifest),
        *_relations(chosen[at], chosen),
        *_others(at, chosen, manifest, universe),
    )


def _asked(name: str, manifest: Manifest) -> Iterator[str]:
    """Yield what the manifest says of the patch."""
    for wanted in manifest.patches:
        if wanted.name == name:
            pinned = f", with the digest {wanted.digest}" if wanted.digest else ""
            yield f"the manifest asks for {name} {wanted.range}{pinned}"


def _relations(patch: Stored, chosen: Sequence[Stored]) -> Iterator[str]:
    """Yield what the cards say of the patch and the others."""
    for other in chosen:
        if other is patch:
            continue
        for kind, relation in relations_of(other):
            if kind == "requires" and concerns(kind, relation, patch):
                yield f"{other.label} requires {_range(relation)}, which it is or provides"
            elif kind != "requires" and relation.name == patch.card.name:
                yield f"{other.label} {_verb(kind)} {_range(relation)}, which it is not"
        for kind, relation in relations_of(patch):
            if kind == "requires" and concerns(kind, relation, other):
                yield f"it requires {_range(relation)}, which {other.label} is or provides"
            elif kind != "requires" and relation.name == other.card.name:
                yield f"it {_verb(kind)} {_range(relation)}, which {other.label} is not"


def _others(at: int, chosen: Sequence[Stored], manifest: Manifest, universe: Universe) -> Iterator[str]:
    """Yield why each other version is not the one."""
    taken = chosen[at]
    for stored in universe.get(taken.card.name, ()):
        if stored == taken:
            continue
        reasons = objections(manifest, [*chosen[:at], stored, *chosen[at + 1 :]])
        if reasons:
            yield f"not {stored.card.version}: {'; '.join(reasons)}"
        elif number(stored.card.version) < number(taken.card.version):
            yield f"not {stored.card.version}: it is older"
        else:
            yield f"not {stored.card.version}: the lock was made without it; `compose lock --upgrade` takes the newest"


def _verb(kind: str) -> str:
    """Return a relation that excludes as a verb."""
    return "conflicts with" if kind == "conflicts" else kind


def _range(relation: Relation) -> str:
    """Return what a relation is about."""
    return relation.name if relation.range == "*" else f"{relation.name} {relation.range}"
