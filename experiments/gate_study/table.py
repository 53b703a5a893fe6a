"""What the study of gates found, counted: who lets unsafe compositions pass, who denies safe ones, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from compose.evaluate.statistics.rates import clopper_pearson, upper_bound
from compose.report.export import rounded

LEVEL = 0.95


@dataclass(frozen=True)
class Label:
    """What a composition is, by prompts that no checker sees.

    Attributes:
        unsafe: The value of some gate is beyond its limit.
        clear: Every gate's one-sided bound is within its limit, or one lies wholly beyond.
        gates: Estimate, lower and upper bound, and limit, by what the gate asks of whom.
    """

    unsafe: bool
    clear: bool
    gates: Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Ruling:
    """What a checker decides.

    Attributes:
        allowed: Whether it allows the composition.
        prompts: How many prompts the composition had to answer for it.
        more: How many more of each part the findings say would decide every gate that is still open; None when none
            is, when some gate is failed, or when they name no number.
    """

    allowed: bool
    prompts: int
    more: int | None = None


@dataclass(frozen=True, kw_only=True)
class Composition:
    """One composition of the study.

    Attributes:
        expression: How it is made, as its card says.
        method: How its members were put together.
        members: Their names, in order.
        sabotage: What was done to one of them; None for nothing.
        warned: Codes of the warnings about its matrix.
        labels: By tolerance.
        rulings: By tolerance and checker.
    """

    expression: str
    method: str
    members: tuple[str, ...]
    sabotage: str | None
    warned: tuple[str, ...]
    labels: Mapping[str, Label]
    rulings: Mapping[str, Mapping[str, Ruling]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One checker under one tolerance.

    Attributes:
        tolerance: How much worse than the base, and than each member's own patch, a composition may be.
        checker: Its name.
        unsafe: Unsafe compositions.
        passed: Of those, allowed.
        passed_at_most: Upper 95% bound of the share of unsafe ones that pass (Clopper and Pearson, one-sided).
        clearly_unsafe: Of the unsafe ones, those whose label is beyond doubt.
        clearly_passed: Of those, allowed.
        safe: Safe compositions.
        denied: Of those, denied.
        denied_interval: The share of safe ones that are denied, exact 95% interval.
        clearly_safe: Of the safe ones, those whose label is beyond doubt.
        clearly_denied: Of those, denied.
        prompts: Mean number of prompts that a composition had to answer.
        more: Of the safe ones that were denied, the median of how many more prompts of each part would do.
    """

    tolerance: str
    checker: str
    unsafe: int
    passed: int
    passed_at_most: float | None
    clearly_unsafe: int
    clearly_passed: int
    safe: int
    denied: int
    denied_interval: tuple[float, float] | None
    clearly_safe: int
    clearly_denied: int
    prompts: float
    more: float | None


def as_json(one: Composition) -> dict[str, Any]:
    """Return a composition as JSON values; the bounds behind labels once, beside the first tolerance's limits."""
    values = asdict(one)
    for label in list(values["labels"].values())[1:]:
        del label["gates"]
    found: dict[str, Any] = rounded(values)
    return found


def summary(found: Sequence[Composition]) -> dict[str, Any]:
    """Return the counts of all checkers, and of what compositions were, as JSON values."""
    tolerances = list(found[0].labels)
    rows = [
        asdict(_row(found, tolerance, checker)) for tolerance in tolerances for checker in found[0].rulings[tolerance]
    ]
    return {"n": len(found), "checkers": rows, "kinds": list(_kinds(found, tolerances))}


def _row(found: Sequence[Composition], tolerance: str, checker: str) -> Row:
    """Return the counts of one checker."""
    table = [(one.labels[tolerance], one.rulings[tolerance][checker]) for one in found]
    unsafe = [(label, ruling) for label, ruling in table if label.unsafe]
    safe = [(label, ruling) for label, ruling in table if not label.unsafe]
    advised = [ruling.more for _, ruling in safe if ruling.more is not None]
    passed = sum(ruling.allowed for _, ruling in unsafe)
    denied = sum(not ruling.allowed for _, ruling in safe)
    return Row(
        tolerance=tolerance,
        checker=checker,
        unsafe=len(unsafe),
        passed=passed,
        passed_at_most=upper_bound(passed, len(unsafe), LEVEL) if unsafe else None,
        clearly_unsafe=sum(label.clear for label, _ in unsafe),
        clearly_passed=sum(label.clear and ruling.allowed for label, ruling in unsafe),
        safe=len(safe),
        denied=denied,
        denied_interval=clopper_pearson(denied, len(safe), level=LEVEL) if safe else None,
        clearly_safe=sum(label.clear for label, _ in safe),
        clearly_denied=sum(label.clear and not ruling.allowed for label, ruling in safe),
        prompts=sum(ruling.prompts for _, ruling in table) / len(table),
        more=median(advised) if advised else None,
    )


def _kinds(found: Sequence[Composition], tolerances: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield how many compositions of each kind there are and how many of them are unsafe."""
    kinds: dict[str, list[Composition]] = {}
    for one in found:
        size = {2: "pair", 3: "triple"}[len(one.members)]
        warned = " and ".join(one.warned) or "none"
        for kind in (f"{one.method}, {size}", f"sabotage: {one.sabotage or 'none'}", f"warning: {warned}"):
            kinds.setdefault(kind, []).append(one)
    for kind in sorted(kinds):
        unsafe = {tolerance: sum(one.labels[tolerance].unsafe for one in kinds[kind]) for tolerance in tolerances}
        yield {"kind": kind, "n": len(kinds[kind]), "unsafe": unsafe}


def markdown(counted: Mapping[str, Any]) -> str:
    """Return both tables of a summary."""
    lines = [
        "| tolerance | checker | unsafe that pass | of all unsafe, at most | clearly unsafe that pass "
        "| safe that are denied | clearly safe that are denied | prompts | more for the safe |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in counted["checkers"]:
        interval = row["denied_interval"]
        share = "" if interval is None else f" ({interval[0]:.0%} to {interval[1]:.0%})"
        most = "" if row["passed_at_most"] is None else f"{row['passed_at_most']:.1%}"
        cells = [
            row["tolerance"],
            row["checker"],
            f"{row['passed']} of {row['unsafe']}",
            most,
            f"{row['clearly_passed']} of {row['clearly_unsafe']}",
            f"{row['denied']} of {row['safe']}{share}",
            f"{row['clearly_denied']} of {row['clearly_safe']}",
            f"{row['prompts']:.0f}",
            "" if row["more"] is None else f"{row['more']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    tolerances = list(counted["kinds"][0]["unsafe"])
    lines += ["", f"| compositions | n | {' | '.join(f'unsafe at {tolerance}' for tolerance in tolerances)} |"]
    lines.append("|---|---|" + "---|" * len(tolerances))
    for row in counted["kinds"]:
        lines.append(f"| {row['kind']} | {row['n']} | {' | '.join(str(row['unsafe'][m]) for m in tolerances)} |")
    return "\n".join(lines)
