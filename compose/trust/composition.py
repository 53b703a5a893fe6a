"""A lock's patches and what it makes of them, as patches that a model can run. The one file here that needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.errors import Rejected
from compose.patch_files import Contents
from compose.trust.claims import Lock

if TYPE_CHECKING:
    from compose.artifact import Patch
    from compose.trust.check import Shelf


@dataclass(frozen=True)
class Composition:
    """A locked composition, made.

    Attributes:
        patch: The result, under the composition's name and version.
        members: The patches that it was made of, in the lock's order.
    """

    patch: Patch
    members: tuple[Patch, ...]


def compose_locked(lock: Lock, shelf: Shelf) -> Composition:
    """Return the composition of a lock, its result found to have the digest that the lock pins.

    Raises:
        Rejected: What the shelf or the method refuse; `lock-invalid` when the result is another one.
    """
    from compose.algebra import apply
    from compose.artifact import Patch
    from compose.parse import revise

    members = tuple(_patch(shelf.get(one.digest, one.card)) for one in lock.patches)
    params: dict[str, object] = dict(lock.method.params)
    if isinstance(start := params.get("init"), str):
        params["init"] = _patch(shelf.find(start))
    made = apply(lock.method.name, members, **params)
    if made.card.prefix != lock.result.digest:
        raise Rejected(
            "lock-invalid",
            subject=f"the result of {lock.name} {lock.version}",
            expected=lock.result.digest,
            got=made.card.prefix,
            fix="make the lock again with `compose lock`",
        )
    card = revise(made.card, name=lock.name, version=lock.version)
    return Composition(Patch(made.prefix, card), members)


def _patch(held: Contents) -> Patch:
    """Return what a shelf holds as a patch.

    Raises:
        Rejected: `artifact-missing` for a matrix without a card.
    """
    import torch

    from compose.artifact import Patch

    if held.card is None:
        raise Rejected(
            "artifact-missing",
            subject="a patch on the shelf",
            expected="a card",
            got="none",
            fix="add the patch again from its own folder",
        )
    return Patch(torch.from_numpy(held.values.copy()), held.card)
