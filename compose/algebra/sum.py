"""Sum of task vectors: what each patch learned, added to the one start that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from compose.algebra.expression import Leaf
from compose.algebra.result import P, check_parts, composed, exact_sum, refuse
from compose.patch_files import values_digest

if TYPE_CHECKING:
    from torch import Tensor


def sum(patches: Sequence[P], init: P | Float[Tensor, "tokens dim"] | Float[ndarray, "tokens dim"]) -> P:
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
    card, start = getattr(init, "card", None), _values(init)
    given = values_digest(start)
    for part in (patch.card for patch in patches):
        if part.init is None or part.init.digest != given:
            refuse(
                "sum",
                expected=f"patches that were all trained from the given init, {given}",
                got=f"{part.name} started from {part.init.digest if part.init else 'an unrecorded init'}",
                fix="train the patches from one shared init and give it here, or use mean() or concat()",
            )
    if start.shape != patches[0].values.shape:  # the start of one segment of a longer patch
        refuse(
            "sum",
            expected=f"an init of the patches' shape, {patches[0].values.shape}",
            got=f"{start.shape}",
            fix="slice() the trained segment out of each patch first, or use mean() or concat()",
        )
    total = exact_sum([(1.0, patch) for patch in patches])
    if len(patches) > 1:
        total = total - start.astype(np.float64) * (len(patches) - 1)
    leaf = Leaf(card.name if card is not None else "init", given)
    return composed("sum", total, patches, params=[("init", leaf)], init=patches[0].card.init)


def _values(init: object) -> Float[ndarray, "tokens dim"]:
    """Return an init's matrix as float32: of a patch, a tensor (which may want a gradient) or an array."""
    if isinstance(init, ndarray):
        return init.astype(np.float32)
    values: Float[ndarray, "tokens dim"] = (
        init.values if hasattr(init, "card") else init.detach().cpu().float().numpy()  # type: ignore[attr-defined]
    )
    return values
