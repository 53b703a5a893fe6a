"""Sum of task vectors: what each patch learned, added to the one start that all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from compose.algebra.expression import Leaf
from compose.algebra.result import check_parts, composed, exact_sum, refuse
from compose.artifact import Patch, prefix_digest


def sum(patches: Sequence[Patch], init: Patch | Float[Tensor, "tokens dim"]) -> Patch:
    """Return init + sum_i (P_i - init), a sum of task prompt vectors (Belanec et al. 2024, arXiv 2408.01119).

    Computed as sum_i P_i - (n - 1) init, so that the sum of a single patch is that patch to the last bit.

    Args:
        patches: [tokens, dim] each, of one base, trained from one init that their cards name by digest.
        init: That init; recomputing the result asks for it by the same digest.

    Raises:
        Rejected: `base-mismatch`; `composition-invalid`, also when an init is unknown, differs, or is not
            this one.
    """
    check_parts("sum", patches, same_shape=True)
    prefix = init.prefix if isinstance(init, Patch) else init.detach().cpu().float()
    given = prefix_digest(prefix)
    for card in (patch.card for patch in patches):
        if card.init is None or card.init.digest != given:
            refuse(
                "sum",
                expected=f"patches that were all trained from the given init, {given}",
                got=f"{card.name} started from {card.init.digest if card.init else 'an unrecorded init'}",
                fix="train the patches from one shared init and give it here, or use mean() or concat()",
            )
    if prefix.shape != patches[0].prefix.shape:  # the start of one segment of a longer patch
        refuse(
            "sum",
            expected=f"an init of the patches' shape, {tuple(patches[0].prefix.shape)}",
            got=f"{tuple(prefix.shape)}",
            fix="slice() the trained segment out of each patch first, or use mean() or concat()",
        )
    total = exact_sum([(1.0, patch) for patch in patches])
    if len(patches) > 1:
        total = total - prefix.double() * (len(patches) - 1)
    leaf = Leaf(init.card.name if isinstance(init, Patch) else "init", given)
    return composed("sum", total, patches, params=[("init", leaf)], init=patches[0].card.init)
