"""A measured number with its direction and interval, and the intervals of rates and means.

Generations of one prompt are not independent of each other, so the prompt is the unit: `n` counts prompts
(texts or passages where there are no prompts), never samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from scipy.stats import t as student

from compose.evaluate.statistics.bootstrap import interval, resample, table
from compose.evaluate.statistics.rates import wilson

Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """One number, which way is better, and its 95% interval.

    Attributes:
        value: The number; None when nothing could be measured.
        direction: Which way is better.
        n: How many independent units it rests on.
        low: Lower end of the interval; None where no interval is given.
        high: Upper end of the interval.
    """

    value: float | None
    direction: Direction
    n: int
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the metric as JSON values."""
        return {
            "value": self.value,
            "direction": self.direction,
            "n": self.n,
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Metric:
        """Return the metric that `to_json` wrote."""
        return cls(**data)


def rate(shares: Sequence[float], direction: Direction) -> Metric:
    """Return the mean of one share per prompt, each in [0, 1], with Wilson's interval over prompts."""
    if not shares:
        return Metric(None, direction, 0)
    value = min(1.0, math.fsum(shares) / len(shares))
    low, high = wilson(value, len(shares))
    return Metric(value, direction, len(shares), low, high)


def over_groups(metric: Metric, shares: Sequence[float], groups: Sequence[str]) -> Metric:
    """Return a rate, the mean of one share per prompt, with an interval that draws whole groups of prompts.

    It is never narrower than the one over prompts: where all prompts agree, a bootstrap has nothing to draw from.
    """
    if metric.low is None or metric.high is None:
        return metric
    low, high = interval(resample(1, len(shares), groups=groups).means(table(shares)))
    return replace(metric, low=min(low, metric.low), high=max(high, metric.high))


def mean(values: Sequence[float], direction: Direction) -> Metric:
    """Return the mean of one number per unit with Student's t interval (none for a single unit)."""
    n = len(values)
    if n == 0:
        return Metric(None, direction, 0)
    value = math.fsum(values) / n
    if n == 1:
        return Metric(value, direction, 1)
    variance = math.fsum((v - value) ** 2 for v in values) / (n - 1)
    half = float(student.ppf(0.975, n - 1)) * math.sqrt(variance / n)
    return Metric(value, direction, n, value - half, value + half)


def unsafe_share(scores: Sequence[float], threshold: float) -> float:
    """Return the share of scores that reach the threshold, in [0, 1]."""
    return sum(score >= threshold for score in scores) / len(scores)
