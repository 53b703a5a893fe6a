"""Betting on a bounded mean: bounds that hold however often one looks, so that an evaluation may stop early.

Notation: x_1, x_2, ... in [0, 1], one number a prompt (the unsafe share of its samples), in an order that does not
depend on them. Whoever believes that their mean is m offers fair odds; a gambler who stakes lambda_t, chosen before
x_t is seen, holds after t rounds

    K+_t(m) = prod (1 + lambda_i (x_i - m))    betting that the mean is larger,
    K-_t(m) = prod (1 - lambda_i (x_i - m))    betting that it is smaller.

Under the mean m either capital is a non-negative martingale that starts at 1, so the chance that it ever reaches
1 / alpha is at most alpha (Ville 1939). The stakes are the predictable plug-in of Waudby-Smith and Ramdas, "Estimating
means of bounded random variables by betting" (JRSS B 2024, 2010.09686), eq. 24 to 26:

    lambda_t = sqrt(2 log(1 / alpha) / (v_{t-1} t log(1 + t))), cut at c / m for K+ and at c / (1 - m) for K-,

with v_{t-1} the regularised variance of what was seen before. Cut so, K+ falls and K- rises with m: one number bounds
the means that are ruled out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

Direction = Literal["larger", "smaller"]
LARGEST_SHARE = 0.5
"""c: the share of the capital that may be lost in one round."""


def stakes(values: Float[np.ndarray, "*runs n"], alpha: float) -> Float[np.ndarray, "*runs n"]:
    """Return lambda_t of every round, each computed from the rounds before it, not yet cut.

    Args:
        values: In [0, 1], along the last axis in the order they are seen.
        alpha: The chance of a wrong claim that is accepted.

    Raises:
        ValueError: A value lies outside [0, 1] or is NaN, or alpha outside (0, 1).
    """
    if not ((values >= 0) & (values <= 1)).all() or not 0 < alpha < 1:
        raise ValueError("expected values within 0 and 1, and an alpha within 0 and 1")
    rounds = np.arange(1, values.shape[-1] + 1)
    means = (0.5 + np.cumsum(values, axis=-1)) / (rounds + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2, axis=-1)) / (rounds + 1)
    before = np.concatenate([np.full((*values.shape[:-1], 1), 0.25), variances[..., :-1]], axis=-1)
    result: Float[np.ndarray, "*runs n"] = np.sqrt(2 * np.log(1 / alpha) / (before * rounds * np.log1p(rounds)))
    return result


def log_capital(
    values: Float[np.ndarray, "*runs n"], mean: float, alpha: float, direction: Direction
) -> Float[np.ndarray, "*runs n"]:
    """Return the logarithm of the capital after every round of betting against `mean`.

    Args:
        values: As for `stakes`.
        mean: The mean that is bet against, in [0, 1].
        alpha: As for `stakes`.
        direction: What is bet on: that the true mean is larger, or smaller.

    Raises:
        ValueError: See `stakes`; or the mean lies outside [0, 1].
    """
    if not 0 <= mean <= 1:
        raise ValueError(f"expected a mean within 0 and 1, got {mean}")
    sign, room = (1, mean) if direction == "larger" else (-1, 1 - mean)
    # A mean of 0 (or 1) leaves nothing to lose: any stake is allowed, and one positive value refutes it.
    cut = LARGEST_SHARE / room if room > 0 else np.inf
    staked = np.minimum(stakes(values, alpha), cut)
    result: Float[np.ndarray, "*runs n"] = np.cumsum(np.log1p(sign * staked * (values - mean)), axis=-1)
    return result
