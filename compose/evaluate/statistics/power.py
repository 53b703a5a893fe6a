"""How small an effect an evaluation can see, and how many prompts it takes to see one.

Normal approximations for two-sided tests, for planning: the analysis itself is exact or resampled. Power is the chance
that a true effect of this size is found.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import norm

from compose.evaluate.statistics.rates import LEVEL

POWER = 0.8


def prompts_for(first: float, second: float, *, level: float = LEVEL, power: float = POWER) -> int:
    """Return how many prompts each of two separate sets needs to tell rate `first` from rate `second`.

    (z_a sqrt(2 m (1 - m)) + z_b sqrt(p1 (1 - p1) + p2 (1 - p2)))^2 / (p1 - p2)^2, with m the mean of both rates
    (Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, eq. 4.14, without its continuity
    correction), rounded up.

    Raises:
        ValueError: The rates are equal or outside [0, 1].
    """
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError(f"expected two different rates within 0 and 1, got {first} and {second}")
    middle = (first + second) / 2
    spread = first * (1 - first) + second * (1 - second)
    root = _z(level) * math.sqrt(2 * middle * (1 - middle)) + float(norm.ppf(power)) * math.sqrt(spread)
    return math.ceil((root / (first - second)) ** 2 - 1e-9)


def detectable_rate(n: int, rate: float, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """Return the largest rate below `rate` that `n` prompts a set tell from it, or None when not even 0 is.

    Raises:
        ValueError: `n` is below 1 or the rate outside (0, 1].
    """
    if n < 1 or not 0 < rate <= 1:
        raise ValueError(f"expected n >= 1 and a rate above 0 and at most 1, got {n} and {rate}")

    def lacking(second: float) -> float:
        middle, spread = (rate + second) / 2, rate * (1 - rate) + second * (1 - second)
        root = _z(level) * math.sqrt(2 * middle * (1 - middle)) + float(norm.ppf(power)) * math.sqrt(spread)
        return root - (rate - second) * math.sqrt(n)

    return None if lacking(0.0) > 0 else float(brentq(lacking, 0.0, rate))


def paired_prompts_for(difference: float, discordant: float, *, level: float = LEVEL, power: float = POWER) -> int:
    """Return how many prompts McNemar's test needs when two systems run on the same ones.

    (z_a sqrt(d) + z_b sqrt(d - e^2))^2 / e^2, with e the difference of the rates and d the share of prompts on which
    the systems disagree (Connor 1987, Biometrics 43), rounded up.

    Raises:
        ValueError: The difference is 0 or larger than the discordant share, which is at most 1.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(f"expected 0 < |difference| <= discordant <= 1, got {difference} and {discordant}")
    return math.ceil(_paired_root(difference, discordant, level, power) ** 2 / difference**2 - 1e-9)


def paired_detectable(n: int, discordant: float, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """Return the smallest difference of rates that `n` shared prompts reveal, or None when none does.

    Raises:
        ValueError: `n` is below 1 or the discordant share outside (0, 1].
    """
    if n < 1 or not 0 < discordant <= 1:
        raise ValueError(f"expected n >= 1 and a discordant share above 0 and at most 1, got {n} and {discordant}")

    def lacking(difference: float) -> float:
        return _paired_root(difference, discordant, level, power) - difference * math.sqrt(n)

    return None if lacking(discordant) > 0 else float(brentq(lacking, 0.0, discordant))


def _paired_root(difference: float, discordant: float, level: float, power: float) -> float:
    return _z(level) * math.sqrt(discordant) + float(norm.ppf(power)) * math.sqrt(discordant - difference**2)


def _z(level: float) -> float:
    return float(norm.ppf((1 + level) / 2))
