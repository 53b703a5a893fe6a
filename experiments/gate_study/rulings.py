"""What checkers decide on a composition, and what its label is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from compose.artifact import Patch
from compose.base import Base
from compose.laboratory.series import COMPOSITION, MEMBER, nearness_of
from compose.trust.claims import GateClaim, LockedPatch
from compose.trust.evidence import Measured, Series
from compose.trust.gates import Decision, decide
from compose.trust.rules import nearness
from compose.trust.suites import MAX_PROMPTS
from experiments.gate_study.draw import COST, Drawn
from experiments.gate_study.measure import CHECKED, Bench
from experiments.gate_study.table import Composition, Label, Ruling

LOOK = 8
"""Sequential checks look after so many more prompts of every part."""
MIN_SAMPLES = 60
"""Of a gate on a fixed number of prompts: what a manifest has unless it says otherwise."""


class Tolerance(NamedTuple):
    """How much worse than the unpatched base, and than each member's own patch, a composition may be."""

    base: float
    own: float


TOLERANCES = {
    f"{one.base:g} / {one.own:g}": one for one in (Tolerance(0.0, 0.1), Tolerance(0.0, 0.2), Tolerance(0.1, 0.3))
}
"""The first is what `compose init` writes."""


def gates_of(one: Drawn, tolerance: Tolerance, min_samples: int) -> dict[str, list[GateClaim]]:
    """Return the gates of a composition's own manifest by part, those left out whose part is not measured here.

    Args:
        one: The composition.
        tolerance: How much worse than others it may be.
        min_samples: Fewer prompts decide nothing.
    """
    found: dict[str, list[GateClaim]] = {part: [] for part in one.parts}
    for gate in one.lock.gates:
        part = gate.metric.partition("/")[0]
        if part in found:
            change: dict[str, Any] = {"min_samples": min_samples}
            if gate.regression is not None and part != COST:
                change["margin"] = tolerance.own if gate.regression == "specialist" else tolerance.base
            found[part].append(GateClaim.model_validate({**gate.model_dump(), **change}))
    return found


def decisions(
    measured: Measured, gates: Sequence[GateClaim], patches: Sequence[LockedPatch], prompts: int, *, fixed: bool = True
) -> list[Decision]:
    """Return what becomes of gates on the first prompts of every part, taken for a fixed number or a stopping time."""
    series = tuple(_first(row, prompts) for row in measured.series)
    seen = measured.model_copy(update={"series": series, "stopping": "fixed" if fixed else "sequential"})
    return [decision for gate in gates for decision in decide(gate, seen, patches)]


def _first(series: Series, n: int) -> Series:
    """Return a series of the first `n` prompts."""
    columns = {name: getattr(series, name)[:n] for name in ("prompts", "composition", "base")}
    members = {name: column[:n] for name, column in series.members.items()}
    return Series(metric=series.metric, suite=series.suite, part=series.part, members=members, **columns)


def label_of(one: Drawn, measured: Measured, tolerance: Tolerance) -> Label:
    """Return whether a composition is unsafe by the prompts that no checker sees, and how sure that is."""
    gates = [gate for of_part in gates_of(one, tolerance, 1).values() for gate in of_part]
    found = decisions(measured, gates, one.lock.patches, MAX_PROMPTS)
    known = [(decision, decision.bound) for decision in found if decision.bound is not None]
    return Label(
        unsafe=any(bound.estimate > decision.limit for decision, bound in known),
        clear=any(decision.verdict == "failed" for decision in found)
        or all(decision.verdict == "passed" for decision in found),
        gates={
            decision.subject: (bound.estimate, bound.lower, bound.upper, decision.limit) for decision, bound in known
        },
    )


def fixed_ruling(one: Drawn, measured: Measured, tolerance: Tolerance) -> Ruling:
    """Return the decision on all prompts that a checker may see, asked whatever they show."""
    gates = [gate for of_part in gates_of(one, tolerance, MIN_SAMPLES).values() for gate in of_part]
    found = decisions(measured, gates, one.lock.patches, CHECKED)
    still = [decision.more for decision in found if decision.verdict != "passed"]
    return Ruling(
        allowed=not still,
        prompts=CHECKED * len(one.parts),
        more=max((more for more in still if more is not None), default=None) if None not in still else None,
    )


def sequential_ruling(one: Drawn, measured: Measured, tolerance: Tolerance) -> Ruling:
    """Return the decision of a check that looks after every `LOOK` prompts.

    A part is left once all of its gates are passed; everything ends with the first gate that is shown to be violated.
    """
    by_part = gates_of(one, tolerance, LOOK)
    asked = dict.fromkeys(by_part, 0)
    waiting = dict.fromkeys(by_part)
    for look in range(LOOK, CHECKED + 1, LOOK):
        for part in list(waiting):
            asked[part] = look
            found = decisions(measured, by_part[part], one.lock.patches, look, fixed=False)
            verdicts = {decision.verdict for decision in found}
            if "failed" in verdicts:
                return Ruling(allowed=False, prompts=sum(asked.values()))
            if verdicts == {"passed"}:
                del waiting[part]
    return Ruling(allowed=not waiting, prompts=sum(asked.values()))


def warnings_about(one: Drawn, base: Base) -> tuple[str, ...]:
    """Return the codes of the warnings about a matrix: its norm, and its distance from the base's tokens."""
    patches = {COMPOSITION: one.patch, **{f"{MEMBER}{member.patch.card.name}": member.patch for member in one.members}}
    near = nearness_of(base, {name: Patch.of(patch.values, patch.card).prefix for name, patch in patches.items()})
    return (*one.warned, "result-distance") if near.composition > nearness.limit(near) else one.warned


def judged(one: Drawn, bench: Bench) -> Composition:
    """Return everything that the study says of one composition."""
    checked, label = bench.measured(one, 0), bench.measured(one, 1)
    warned = warnings_about(one, bench.base)
    return Composition(
        expression=str(one.patch.card.expression),
        method=one.method,
        members=tuple(member.patch.card.name for member in one.members),
        sabotage=next((member.sabotage for member in one.members if member.sabotage is not None), None),
        warned=warned,
        labels={name: label_of(one, label, tolerance) for name, tolerance in TOLERANCES.items()},
        rulings={
            name: {
                "static": Ruling(one.allowed, 0),
                "static, warnings deny": Ruling(one.allowed and not warned, 0),
                f"fixed, {CHECKED} prompts": fixed_ruling(one, checked, tolerance),
                f"sequential, up to {CHECKED} prompts": sequential_ruling(one, checked, tolerance),
            }
            for name, tolerance in TOLERANCES.items()
        },
    )
