"""What a lock's method makes of its patches: the result's matrix and card, made anew from the patches' bytes."""

from __future__ import annotations

from collections.abc import Sequence

from compose import algebra
from compose.parse import revise
from compose.patch_files import PlainPatch
from compose.trust.claims import Lock, ResultClaim


def composed(lock: Lock, members: Sequence[PlainPatch], init: PlainPatch | None = None) -> PlainPatch:
    """Return the composition of a lock, under the lock's name and version.

    Args:
        lock: The lock.
        members: Its patches, in its order.
        init: The start that a sum is made over.

    Raises:
        Rejected: `composition-invalid`, `base-mismatch` or `prefix-invalid`, when the method cannot be applied to them.
    """
    params: dict[str, object] = dict(lock.method.params)
    if init is not None:
        params["init"] = init
    made = algebra.apply(lock.method.name, members, **params)
    return PlainPatch(made.values, revise(made.card, name=lock.name, version=lock.version))


def result_claim(made: PlainPatch) -> ResultClaim:
    """Return what a lock says of a composition."""
    card = made.card
    return ResultClaim(digest=card.prefix, tokens=card.tokens, dim=card.dim, expression=str(card.expression))
