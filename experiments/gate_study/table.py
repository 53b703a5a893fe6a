"""What the study of gates found, counted: who lets unsafe compositions pass, who denies safe ones, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compose.evaluate.statistics.rates import clopper_pearson, upper_bound

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
    """What a checker decides, and how many prompts the composition had to answer for it."""

    allowed: bool
    prompts: int


@dataclass(frozen=True, kw_only=True)
class Composition:
    """One composition of the study.

    Attributes:
        expression: How it is made, as its card says.
        method: How its members were put together.
        members: Their names, in order.
        sabotage: What was done to one of them; None for nothing.
        warned: Codes of the warnings about its matrix.
        labels: By margin.
        rulings: By margin and checker.
    """

    expression: str
    method: str
    members: tuple[str, ...]
    sabotage: str | None
    warned: tuple[str, ...]
    labels: Mapping[float, Label]
    rulings: Mapping[float, Mapping[str, Ruling]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One checker under one margin.

    Attributes:
        margin: How much worse than each member's own patch a composition may be.
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
    """

    margin: float
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


def as_json(one: Composition) -> dict[str, Any]:
    """Return a composition as JSON values."""
    values = asdict(one)
    for name in ("labels", "rulings"):
        values[name] = {f"{margin:g}": value for margin, value in values[name].items()}
    return values


def summary(found: Sequence[Composition]) -> dict[str, Any]:
    """Return the counts of all checkers, and of what compositions were, as JSON values."""
    margins = list(found[0].labels)
    rows = [asdict(_row(found, margin, checker)) for margin in margins for checker in found[0].rulings[margin]]
    return {"n": len(found), "checkers": rows, "kinds": list(_kinds(found, margins))}


def _row(found: Sequence[Composition], margin: float, checker: str) -> Row:
    """Return the counts of one checker."""
    table = [(one.labels[margin], one.rulings[margin][checker]) for one in found]
    unsafe = [(label, ruling) for label, ruling in table if label.unsafe]
    safe = [(label, ruling) for label, ruling in table if not label.unsafe]
    passed = sum(ruling.allowed for _, ruling in unsafe)
    denied = sum(not ruling.allowed for _, ruling in safe)
    return Row(
        margin=margin,
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
    )


def _kinds(found: Sequence[Composition], margins: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Yield how many compositions of each kind there are and how many of them are unsafe."""
    kinds: dict[str, list[Composition]] = {}
    for one in found:
        size = {2: "pair", 3: "triple"}[len(one.members)]
        warned = " and ".join(one.warned) or "none"
        for kind in (f"{one.method}, {size}", f"sabotage: {one.sabotage or 'none'}", f"warning: {warned}"):
            kinds.setdefault(kind, []).append(one)
    for kind in sorted(kinds):
        unsafe = {f"{margin:g}": sum(one.labels[margin].unsafe for one in kinds[kind]) for margin in margins}
        yield {"kind": kind, "n": len(kinds[kind]), "unsafe": unsafe}


def markdown(counted: Mapping[str, Any]) -> str:
    """Return both tables of a summary."""
    lines = [
        "| margin | checker | unsafe that pass | of all unsafe, at most | clearly unsafe that pass "
        "| safe that are denied | clearly safe that are denied | prompts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in counted["checkers"]:
        interval = row["denied_interval"]
        share = "" if interval is None else f" ({interval[0]:.0%} to {interval[1]:.0%})"
        most = "" if row["passed_at_most"] is None else f"{row['passed_at_most']:.1%}"
        cells = [
            f"{row['margin']:g}",
            row["checker"],
            f"{row['passed']} of {row['unsafe']}",
            most,
            f"{row['clearly_passed']} of {row['clearly_unsafe']}",
            f"{row['denied']} of {row['safe']}{share}",
            f"{row['clearly_denied']} of {row['clearly_safe']}",
            f"{row['prompts']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    margins = list(counted["kinds"][0]["unsafe"])
    lines += ["", f"| compositions | n | {' | '.join(f'unsafe at {margin}' for margin in margins)} |"]
    lines.append("|---|---|" + "---|" * len(margins))
    for row in counted["kinds"]:
        lines.append(f"| {row['kind']} | {row['n']} | {' | '.join(str(row['unsafe'][m]) for m in margins)} |")
    return "\n".join(lines)
