"""What people read instead of keys and floats: labels of arms and metrics, numbers, shares, intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from compose.report.results import Estimate, MetricValue
from compose.report.summary import ArmRow

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
ARROW = "\N{RIGHTWARDS ARROW}"
BETTER = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}"}

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SHOWN_DIGITS = 12

LABELS = {
    "mean": "average",
    "concat": "concatenated",
    "joint": "joint",
    "specialist": "specialist",
}
VARIANTS = {"replay": "+ replay", "pad": "+ pad control"}

METRICS = {
    "gas": "GAS",
    "gld": "GLD",
    "asr": "ASR",
}


def strategy(label: str) -> str:
    """Return a strategy's label as people say it: `sequential-replay` is "sequential + replay"."""
    first, *rest = label.split("-")
    return " ".join([LABELS.get(first, first), *(VARIANTS.get(part, part) for part in rest)])


def order(risks: Sequence[str]) -> str:
    """Return risks in their order, with arrows."""
    return f" {ARROW} ".join(risks)


def arm(row: ArmRow) -> str:
    """Return an arm's label and, where an order means something, its order."""
    return f"{strategy(row.label)}, {order(row.order)}" if ordered(row) else strategy(row.label)


def ordered(row: ArmRow) -> bool:
    """Return whether an arm's order means anything: a mean has none, and a joint patch sees all risks at once."""
    return row.strategy not in ("mean", "joint")


def metric(name: str, judge: str | None = None) -> str:
    """Return a metric's name in words, as the judge reads it.

    What `non_refusal_rate` counts is what reaches a judge's threshold: by a judge of refusals what did not refuse, by a
    judge of harm, which is any other, what did harm.
    """
    if judge and "refusal" not in judge:
        name = name.replace("non_refusal_rate", "harmful_reply_rate")
    first, *rest = name.split("_")
    return " ".join([METRICS.get(first, first), *rest])


def number(value: float | None) -> str:
    """Return a number with three digits that mean something, and a real minus sign."""
    if value is None:
        return DASH
    size = abs(value)
    digits = 3 if size < 10 else 1 if size < 1000 else 0
    text = f"{size:.{digits}f}" if size < 10000 else f"{size:.1e}"
    return MINUS + text if value < 0 and float(text) != 0 else text


def percent(value: float | None) -> str:
    """Return a share in whole per cent."""
    if value is None:
        return DASH
    text = f"{abs(100 * value):.0f}%"
    return MINUS + text if value < 0 and text != "0%" else text


def between(low: float | None, high: float | None) -> str:
    """Return an interval of numbers, or nothing where there is none."""
    if low is None or high is None or math.isclose(low, high, abs_tol=1e-9):
        return ""
    return f"{number(low)} to {number(high)}" if low < 0 else f"{number(low)}{DASH}{number(high)}"


def percent_between(estimate: Estimate | MetricValue) -> str:
    """Return an interval of shares in whole per cent, or nothing where there is none."""
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return ""
    low, high = percent(estimate.low).removesuffix("%"), percent(estimate.high)
    return f"{low} to {high}" if estimate.low < 0 else f"{low}{DASH}{high}"


def measured(value: MetricValue) -> tuple[str, str]:
    """Return a metric's value and its interval."""
    return number(value.value), between(value.low, value.high)


def listed(items: Sequence[str]) -> str:
    """Return items joined as in a sentence."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def duration(seconds: float) -> str:
    """Return a duration in hours and minutes, or in seconds when it is short."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(count: int, noun: str) -> str:
    """Return a number of things, with the noun's plural where it is not one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def version(text: str) -> str:
    """Return a version with its digests cut to what tells two apart; records have them whole."""
    return DIGEST.sub(lambda found: found[0][: len("sha256:") + SHOWN_DIGITS], text)


def machine(facts: Mapping[str, str | int | float]) -> str:
    """Return a machine in one line, counts with what they count."""
    units = {"cores": "core", "threads": "thread"}
    return ", ".join(
        counted(int(value), units[key]) if key in units else str(value) for key, value in _processor_first(facts)
    )


def _processor_first(facts: Mapping[str, str | int | float]) -> list[tuple[str, str | int | float]]:
    return sorted(facts.items(), key=lambda fact: fact[0] not in ("cpu", "accelerator"))
