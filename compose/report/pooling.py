"""Numbers of several seeds pooled into one: the mean, and an interval that holds the seeds' spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import t as student

from compose.report.results import Estimate, MetricValue


def combined_metric(values: Sequence[MetricValue]) -> MetricValue:
    """Return the mean over seeds; its interval adds the runs' own error and the seeds' spread in quadrature.

    The runs share their prompts, so the error that comes from the prompts does not shrink with more seeds.
    """
    numbers = [one.value for one in values if one.value is not None]
    if len(values) == 1 or not numbers:
        return values[0]
    centre = fmean(numbers)
    widths = [(one.high - one.low) / 2 for one in values if one.low is not None and one.high is not None]
    spread = stdev(numbers) * _student(len(numbers)) / math.sqrt(len(numbers)) if len(numbers) > 1 else 0.0
    half = math.hypot(fmean(widths), spread) if widths else spread
    return replace(values[0], value=centre, n=max(one.n for one in values), low=centre - half, high=centre + half)


def over_seeds(each: Sequence[Mapping[str, float | None]]) -> dict[str, Estimate]:
    """Return the mean over seeds by key, with Student's interval over the seeds when there are several."""
    merged: dict[str, Estimate] = {}
    for key in dict.fromkeys(name for one in each for name in one):
        numbers = [value for one in each if (value := one.get(key)) is not None]
        if not numbers:
            merged[key] = Estimate(value=None, reason="it needs more stages, or a reference that was not run")
        elif len(numbers) == 1:
            merged[key] = Estimate(value=numbers[0])
        else:
            centre = fmean(numbers)
            half = _student(len(numbers)) * stdev(numbers) / math.sqrt(len(numbers))
            merged[key] = Estimate(value=centre, low=centre - half, high=centre + half)
    return merged


def _student(count: int) -> float:
    return float(student.ppf(0.975, count - 1))
