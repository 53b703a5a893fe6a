"""What a lock's method makes of its patches: the result's matrix and card, made anew from the patches' bytes."""

from __future__ import annotations

from collections.abc import Sequence

from compose import algebra
from compose.parse import revise
from compose.patch_files import PlainPatch
from compose.trust.claims import Lock, Manifest, ResultClaim


def composed(claim: Lock | Manifest, members: Sequence[PlainPatch], init: PlainPatch | None = None) -> PlainPatch:
    """Return the composition that a lock pins or a manifest asks for, under its name and version.

    Args:
        claim: The lock or the manifest.
        members: Its patches, in its order.
        init: The start that a sum is made over.

    Raises:
        Rejected: `composition-invalid`, `base-mismatch` or `prefix-invalid`, when the method cannot be applied to them.
    """
    params: dict[str, object] = dict(claim.method.params)
    if init is not None:
        params["init"] = init
    made = algebra.apply(claim.method.name, members, **params)
    card = made.card
    # Under its new name a patch has no relation to itself.
    others = {
        kind: tuple(relation for relation in getattr(card, kind) if relation.name != claim.name)
        for kind in ("conflicts", "breaks")
    }
    return PlainPatch(made.values, revise(card, name=claim.name, version=claim.version, **others))


def result_claim(made: PlainPatch) -> ResultClaim:
    """Return what a lock says of a composition."""
    card = made.card
    return ResultClaim(digest=card.prefix, tokens=card.tokens, dim=card.dim, expression=str(card.expression))
