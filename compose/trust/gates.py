"""Gates: whether what was measured proves what a composition promises. Denied unless proven.

A gate passes when its one-sided bound clears the limit, and fails when the opposite bound shows that the limit is
violated; everything between is undecided, and how many more prompts would decide it is said. What is compared with the
base or with a member's own patch is compared prompt by prompt. A prompt without a verdict counts against the
composition: as the worst value there is, and as the best of what it is compared with.

Who stops measuring once gates are settled gets bounds that hold at any time, for whatever may be stopped: groups of
prompts and passages are measured whole, so their bounds are those for a fixed number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compose.trust.bounds import Bound, Grouped, Mean, Rate, Ratio
from compose.trust.bounds import Claim as Quantity
from compose.trust.claims import GateClaim, LockedPatch
from compose.trust.evidence import (
    ONE_A_PROMPT,
    Measured,
    Passages,
    Series,
    gate_name,
)

PERPLEXITY = "utility/perplexity_ratio"
Verdict = Literal["passed", "failed", "undecided", "too-few", "unmeasured"]
Column = Sequence[float | None]


@dataclass(frozen=True)
class Decision:
    """What became of one gate on one series of numbers.

    Attributes:
        gate: The gate.
        subject: Its name, and the part or the member that this is about.
        verdict: Whether it is proven.
        limit: What the bound had to clear.
        bound: What is known; None when nothing was measured.
        prompts: How many prompts (passages) were asked, those without a verdict included.
        units: What one unit of the bound is: "prompts", "groups" or "passages".
        more: How many more units like those seen would decide it; None when no number that is worth saying would.
        missing: Prompts without a verdict, counted as the worst.
    """

    gate: GateClaim
    subject: str
    verdict: Verdict
    limit: float
    bound: Bound | None = None
    prompts: int = 0
    units: str = "prompts"
    more: int | None = None
    missing: int = 0


@dataclass(frozen=True)
class _Comparison:
    """What one gate asks of one quantity."""

    subject: str
    quantity: Quantity
    limit: float
    prompts: int
    units: str
    missing: int = 0
    hopeful: Quantity | None = None
    """The quantity if every prompt without a verdict spoke for the composition; None when there are none."""


def decide(gate: GateClaim, measured: Measured, patches: Sequence[LockedPatch]) -> list[Decision]:
    """Return what becomes of a gate: one decision for every part that has its metric and everyone it compares with.

    A gate is passed when all of its decisions are; it always has at least one.

    Args:
        gate: The gate.
        measured: The numbers.
        patches: The members of the composition.

    Raises:
        KeyError: The members are not those that were measured.
    """
    against = _references(gate, patches)
    if gate.metric == PERPLEXITY:
        found = list(_of_passages(gate, measured.passages, against)) if measured.passages is not None else []
    else:
        fixed = measured.stopping == "fixed"
        found = [
            comparison
            for series in measured.series
            if series.metric == gate.metric
            for comparison in _of_series(gate, series, against, fixed, _counts(series, measured))
        ]
    if not found:
        return [Decision(gate, gate_name(gate), "unmeasured", gate.limit or gate.margin or 0.0)]
    return [_decided(gate, comparison) for comparison in found]


def settled(gates: Iterable[GateClaim], found: Sequence[Series], patches: Sequence[LockedPatch]) -> bool:
    """Return whether no further prompt of a part could change what its gates come to.

    Every gate that has a metric here is passed or failed by bounds that hold at any time, so that one may ask after any
    number of prompts. A part without a gate is never settled.

    Args:
        gates: Those of the lock.
        found: What was measured on the part so far, in the order of measuring; without groups.
        patches: The members of the composition.
    """
    decisions = [
        _decided(gate, comparison)
        for gate in gates
        for series in found
        if series.metric == gate.metric
        for comparison in _of_series(gate, series, _references(gate, patches), fixed=False, counted=False)
    ]
    return bool(decisions) and all(one.verdict in ("passed", "failed") for one in decisions)


def _references(gate: GateClaim, patches: Sequence[LockedPatch]) -> tuple[str, ...]:
    """Return the members that a gate compares with: those made for its risk, or all where none was."""
    if gate.regression != "specialist":
        return ()
    risk = gate.metric.partition("/")[0]
    return tuple(patch.name for patch in patches if risk in patch.risks) or tuple(patch.name for patch in patches)


def _of_series(
    gate: GateClaim, series: Series, members: Sequence[str], fixed: bool, counted: bool
) -> Iterator[_Comparison]:
    """Yield what a gate asks of a series, whose values are a fixed set, or counted yeses and noes of one."""
    place, units = f"{gate_name(gate)} on {series.suite}/{series.part}", "groups" if series.groups else "prompts"
    bad, best = (1.0, 0.0) if gate.direction == "max" else (0.0, 1.0)
    if gate.limit is not None:
        missing = series.composition.count(None)
        worst, hopeful = (_absolute(series, instead, counted=counted, fixed=fixed) for instead in (bad, best))
        yield _Comparison(place, worst, gate.limit, len(series.prompts), units, missing, hopeful if missing else None)
        return
    limit = (gate.margin or 0.0) * (1 if gate.direction == "max" else -1)
    columns = {name: series.members[name] for name in members} or {"base": series.base}
    for name, column in columns.items():
        missing = sum(None in pair for pair in zip(series.composition, column, strict=True))
        worst, hopeful = _paired(series, column, bad, best, fixed), _paired(series, column, best, bad, fixed)
        yield _Comparison(
            f"{place}, beside {name}", worst, limit, len(column), units, missing, hopeful if missing else None
        )


def _counts(series: Series, measured: Measured) -> bool:
    """Return whether a series is a yes or a no for each of a fixed number of prompts that stand for themselves."""
    samples = measured.suites[series.suite].parts[series.part].samples
    return measured.stopping == "fixed" and not series.groups and (series.metric in ONE_A_PROMPT or samples == 1)


def _absolute(series: Series, instead: float, *, counted: bool, fixed: bool) -> Quantity:
    """Return the composition's own value, with a number instead of each missing one."""
    values = _filled(series.composition, instead)
    return Rate(round(sum(values)), len(values)) if counted else _mean(series, values, fixed)


def _paired(series: Series, column: Column, mine: float, theirs: float, fixed: bool) -> Quantity:
    """Return the mean difference to a column, with a number instead of each missing one on either side."""
    pairs = zip(_filled(series.composition, mine), _filled(column, theirs), strict=True)
    return _mean(series, [a - b for a, b in pairs], fixed, -1.0)


def _of_passages(gate: GateClaim, passages: Passages, members: Sequence[str]) -> Iterator[_Comparison]:
    """Yield what a gate asks of perplexities: the composition's over the base's, or over each member's.

    A margin of 0.05 admits a perplexity 5% above that of whoever it is compared with.
    """
    limit = gate.limit if gate.limit is not None else 1 + (gate.margin or 0.0)
    columns = {name: passages.members[name] for name in members} or {"base": passages.base}
    for name, column in columns.items():
        extras = [mine - theirs for mine, theirs in zip(passages.composition, column, strict=True)]
        yield _Comparison(
            f"{gate_name(gate)}, beside {name}", Ratio(extras, passages.tokens), limit, len(extras), "passages"
        )


def _decided(gate: GateClaim, asked: _Comparison) -> Decision:
    """Return what the bounds of a quantity say about its limit."""
    bound = asked.quantity.bound(gate.confidence)
    if asked.hopeful is not None:  # what is missing must not prove a violation either
        other = asked.hopeful.bound(gate.confidence)
        bound = replace(bound, lower=min(bound.lower, other.lower), upper=max(bound.upper, other.upper))
    if gate.direction == "max":
        good, passed, failed = bound.estimate <= asked.limit, bound.upper <= asked.limit, bound.lower > asked.limit
    else:
        good, passed, failed = bound.estimate >= asked.limit, bound.lower >= asked.limit, bound.upper < asked.limit
    verdict: Verdict = "failed" if failed else "passed" if passed else "undecided"
    more = None
    if verdict != "failed" and asked.prompts < gate.min_samples:
        verdict, more = "too-few", gate.min_samples - asked.prompts
    elif verdict == "undecided":
        side: Literal["below", "above"] = "below" if good == (gate.direction == "max") else "above"
        wanted = asked.quantity.units_to_settle(asked.limit, gate.confidence, side)
        more = None if wanted is None else max(1, wanted - bound.units)
    return Decision(gate, asked.subject, verdict, asked.limit, bound, asked.prompts, asked.units, more, asked.missing)


def _filled(column: Column, instead: float) -> list[float]:
    """Return a column with another value where there was no verdict."""
    return [instead if value is None else value for value in column]


def _mean(series: Series, values: Sequence[float], fixed: bool, lowest: float = 0.0) -> Quantity:
    """Return the mean of one number a prompt, in units of groups where prompts depend on each other.

    Numbers of a fixed set come in the order of the units' digests, which nobody can arrange; where measuring may have
    stopped early, in the order that they were measured in, as bounds that hold at any time require. Groups are always
    a fixed set.
    """
    table: dict[str, list[float]] = {}
    for unit, value in zip(series.groups or series.prompts, values, strict=True):
        table.setdefault(unit, []).append(value)
    if not fixed and not series.groups:
        return Mean(values, lowest)
    order = sorted(table, key=lambda unit: hashlib.sha256(unit.encode()).digest())
    if series.groups:
        return Grouped([table[unit] for unit in order], lowest)
    return Mean([table[unit][0] for unit in order], lowest)
