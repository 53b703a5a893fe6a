"""Confidence sequences, and an evaluation that stops as soon as a claim about a rate is settled.

A confidence sequence is a band of intervals, one a prompt, that contains the true rate at all times together with the
stated confidence: look after every prompt and stop when you like. The price is a wider interval at any fixed time.
See `betting` for the construction and its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from compose.evaluate.statistics.betting import Direction, log_capital
from compose.evaluate.statistics.rates import LEVEL

STEPS = 40
"""Halvings of [0, 1] when a bound is looked for: a bound is off by less than 1e-12, on the safe side."""
Verdict = Literal["below", "above", "open"]
SIDES: tuple[tuple[Verdict, Direction], ...] = (("below", "smaller"), ("above", "larger"))
"""What is concluded when a bet on a smaller, or a larger, mean than the limit has won."""


@dataclass(frozen=True)
class Settled:
    """Whether a rate is below or above a limit, and after how many prompts that was known.

    Attributes:
        verdict: "below" or "above" once settled; "open" when the prompts ran out first.
        prompts: How many prompts were looked at.
    """

    verdict: Verdict
    prompts: int


def upper_bound(values: ArrayLike, level: float = LEVEL) -> float:
    """Return the smallest rate that betting on a smaller mean has ruled out at any time so far, or 1.

    Args:
        values: One number a prompt, in [0, 1], in the order of the prompts.
        level: Confidence of this one side.

    Raises:
        ValueError: There are no values, or one is outside [0, 1].
    """
    return _bound(_series(values), level, "smaller")


def lower_bound(values: ArrayLike, level: float = LEVEL) -> float:
    """Return the largest rate that betting on a larger mean has ruled out at any time so far, or 0.

    Raises:
        ValueError: See `upper_bound`.
    """
    return _bound(_series(values), level, "larger")


def band(values: ArrayLike, level: float = LEVEL) -> list[tuple[float, float]]:
    """Return the interval after each prompt; each lies within the one before it.

    Half of 1 - level is spent on either side. It takes n bounds of up to n prompts each: meant for plots.

    Raises:
        ValueError: See `upper_bound`.
    """
    series = _series(values)
    side = 1 - (1 - level) / 2
    ends = range(1, len(series) + 1)
    return [(_bound(series[:n], side, "larger"), _bound(series[:n], side, "smaller")) for n in ends]


def settle(values: Sequence[float], limit: float, level: float = LEVEL) -> Settled:
    """Return when the claim "the rate is below `limit`" was settled, looking after every prompt.

    Either verdict is wrong with a chance of at most 1 - level, whatever the rate and whenever one stops: at any true
    rate only one of them can be wrong.

    Raises:
        ValueError: See `upper_bound`; or the limit is outside [0, 1].
    """
    series = _series(values)
    needed = np.log(1 / (1 - level))
    for verdict, direction in SIDES:
        won = np.flatnonzero(log_capital(series, limit, 1 - level, direction) >= needed)
        if won.size:
            return Settled(verdict, int(won[0]) + 1)
    return Settled("open", len(series))


def _series(values: ArrayLike) -> Float[np.ndarray, " n"]:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or series.size == 0:
        raise ValueError(f"expected one number a prompt, got shape {series.shape}")
    return series


def _bound(series: Float[np.ndarray, " n"], level: float, direction: Direction) -> float:
    """Return the end of the means that were never ruled out, found by halving: capital is monotone in the mean."""
    needed = np.log(1 / (1 - level))

    def ruled_out(mean: float) -> bool:
        return bool((log_capital(series, mean, 1 - level, direction) >= needed).any())

    outer = 1.0 if direction == "smaller" else 0.0
    inner = 1.0 - outer
    if not ruled_out(outer):
        return outer
    for _ in range(STEPS):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if ruled_out(middle) else (outer, middle)
    return outer
