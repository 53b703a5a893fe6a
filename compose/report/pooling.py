"""Numbers of several seeds pooled into one: the mean, and an interval that holds the seeds' spread."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import t as student

from compose.evaluate.statistics.bootstrap import Groups, on_shared
from compose.report.results import PERPLEXITY_RATIO, Estimate, MetricValue, RiskMeasure

LOG_SCALE = ("perplexity", PERPLEXITY_RATIO)
"""Metrics that are pooled as logarithms: a mean negative log-likelihood is what they are made from."""


def combined_metric(name: str, values: Sequence[MetricValue]) -> MetricValue:
    """Return the mean over seeds; its interval adds the runs' own error and the seeds' spread in quadrature.

    The runs share their prompts, so the error that comes from the prompts does not shrink with more seeds. Each side
    of the interval is pooled by itself, since a rate's is not symmetric, and the interval of a share ends at 0 and 1.
    """
    known = [one for one in values if one.value is not None]
    if len(values) == 1 or not known:
        return values[0]
    to, back = (math.log, _exp) if name in LOG_SCALE else (float, float)
    numbers = [to(one.value) for one in known if one.value is not None]
    ends = [(to(one.low), to(one.high)) for one in known if one.low is not None and one.high is not None]
    centre = fmean(numbers)
    spread = stdev(numbers) * _student(len(numbers)) / math.sqrt(len(numbers)) if len(numbers) > 1 else 0.0
    down = math.hypot(spread, centre - fmean(low for low, _ in ends)) if ends else spread
    up = math.hypot(spread, fmean(high for _, high in ends) - centre) if ends else spread
    low, high = back(centre - down), back(centre + up)
    if name not in LOG_SCALE and all(0 <= end <= 1 for end in (*numbers, *(end for pair in ends for end in pair))):
        low, high = max(0.0, low), min(1.0, high)
    return replace(values[0], value=back(centre), n=max(one.n for one in values), low=low, high=high)


def on_shared_prompts(sides: Sequence[Sequence[RiskMeasure]]) -> tuple[list[list[list[float]]], Groups]:
    """Return safety as [side][seed][prompt] on the prompts that all have, in one order, and the prompts' groups.

    Args:
        sides: What is compared, each with its measures on the same seeds; at least one of each. Without a shared
            prompt the first of the two is empty.
    """
    common, values = on_shared([dict(zip(one.prompt_ids, one.safety, strict=True)) for side in sides for one in side])
    first, each = sides[0][0], iter(values)
    known = None if first.groups is None else dict(zip(first.prompt_ids, first.groups, strict=True))
    groups = None if known is None else [known[key] for key in common]
    return [[next(each) for _ in side] for side in sides] if common else [], groups


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


def _exp(value: float) -> float:
    """Return e to a value; an end that no float holds is cut."""
    return math.exp(min(value, math.log(sys.float_info.max)))


def _student(count: int) -> float:
    return float(student.ppf(0.975, count - 1))
