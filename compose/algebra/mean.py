"""Weighted elementwise mean of patches of equal shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compose.algebra.result import P, check_parts, composed, exact_sum, refuse

WEIGHT_TOLERANCE = 1e-9


def mean(patches: Sequence[P], weights: Sequence[float] | None = None) -> P:
    """Return sum_i w_i P_i, in float64 and then rounded once; the order of the patches makes no difference.

    Patches that were trained from different inits rarely survive this (Arif et al. 2025, arXiv 2511.08484).

    Args:
        patches: [tokens, dim] each, of one base.
        weights: One per patch, not negative, together 1; equal ones by default.

    Raises:
        Rejected: `base-mismatch` or `composition-invalid`.
    """
    check_parts("mean", patches, same_shape=True)
    if weights is None:
        weights = [1 / len(patches)] * len(patches)
    checked = _checked(weights, len(patches))
    inits = [patch.card.init for patch in patches]
    start = inits[0] if len({init and init.digest for init in inits}) == 1 else None
    total = exact_sum(list(zip(checked, patches, strict=True)))
    return composed("mean", total, patches, params=[("weights", checked)], init=start)


def _checked(weights: Sequence[float], n_patches: int) -> tuple[float, ...]:
    """Return the weights as floats, refusing any that do not make a mean."""
    fix = "give one weight per patch, each divided by the sum of all"
    if isinstance(weights, str) or len(weights) != n_patches:
        refuse("mean", expected=f"{n_patches} weights", got=f"{len(weights)}", fix=fix)
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            refuse("mean", expected="weights that are finite and not negative", got=ascii(weight)[:40], fix=fix)
    total = math.fsum(weights)
    if abs(total - 1.0) > WEIGHT_TOLERANCE:
        refuse("mean", expected="weights that sum to 1", got=f"a sum of {total!r}", fix=fix)
    return tuple(float(weight) for weight in weights)
