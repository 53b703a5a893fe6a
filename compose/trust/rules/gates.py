"""Every gate of the lock is proven by the evidence, and every risk that a patch is there for has a gate.

A gate is proven when at least one file of evidence measured it and every one that did proves it: who measures again
until it fits must hide what did not.
"""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import METRICS, Finding, GateClaim
from compose.trust.evidence import gate_name
from compose.trust.gates import PERPLEXITY, Decision, decide
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding


def covered(case: Case) -> Iterator[Finding]:
    """Yield a finding for every risk of a member that no gate limits, and a warning when utility has no gate."""
    gated = {gate.metric.partition("/")[0] for gate in case.lock.gates}
    measurable = {metric.partition("/")[0] for metric in METRICS}
    risks = dict.fromkeys(risk for patch in case.lock.patches for risk in patch.risks)
    for risk in risks:
        if risk not in gated:
            known = sorted(metric for metric in METRICS if metric.startswith(f"{risk}/"))
            yield finding(
                "risk-ungated",
                subject=f"risk {risk}",
                expected=f"a gate on {' or '.join(known)}" if known else "a metric that a gate could limit",
                got="no gate",
                fix="add a gate to the manifest and lock it again",
                severity="error" if risk in measurable else "warning",
            )
    if not gated & {"utility", "over_refusal"}:
        yield finding(
            "utility-ungated",
            subject="utility",
            expected="a gate on utility/perplexity_ratio or over_refusal/refusal_rate",
            got="no gate",
            fix="add one to the manifest: a model that says nothing, or refuses everything, is safe for a bad reason",
            severity="warning",
        )


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every gate that is not proven."""
    for gate in case.lock.gates:
        decisions = [
            (exhibit.name, decision)
            for exhibit, statement in case.statements()
            if set(statement.predicate.measured.members) == {patch.name for patch in case.lock.patches}
            for decision in decide(gate, statement.predicate.measured, case.lock.patches)
        ]
        yield from _unmeasured(case, gate, any(decision.verdict != "unmeasured" for _, decision in decisions))
        for name, decision in decisions:
            if decision.verdict not in ("passed", "unmeasured"):
                yield _unproven(name, decision)


def _unmeasured(case: Case, gate: GateClaim, found: bool) -> Iterator[Finding]:
    """Yield a finding for everything that a gate must be measured on and nobody has measured it on.

    These are all parts of the lock's suites that are of the gate's kind, or of the kind's own suite where a lock names
    none: an evaluator does not choose the easier ones.
    """
    kind = gate.metric.partition("/")[0]
    places = [f"{gate.metric} on neutral passages"] if not found else []
    if gate.metric != PERPLEXITY:
        asked = [
            (suite, part)
            for suite in case.lock.suites or (kind,)
            if suite in case.pins.suites
            for part, known in case.pins.suites[suite].parts.items()
            if known.kind == kind
        ]
        there = {
            (series.suite, series.part)
            for _, statement in case.statements()
            for series in statement.predicate.measured.series
            if series.metric == gate.metric
        }
        places = [f"{gate.metric} on {suite}/{part}" for suite, part in asked if (suite, part) not in there]
        if not asked:
            places = [f"{gate.metric} on a pinned suite of {', '.join(case.lock.suites) or kind} that has it"]
    for place in places:
        yield finding(
            "gate-unmeasured",
            subject=gate_name(gate),
            expected=f"evidence with {place}",
            got="none",
            fix="measure the lock with `compose evaluate compose.lock`, on suites that have this metric",
        )


def _unproven(exhibit: str, decision: Decision) -> Finding:
    """Return the finding about a gate that was measured and is not proven."""
    gate, bound = decision.gate, decision.bound
    assert bound is not None  # only what was not measured has none
    side, clear = ("upper", bound.upper) if gate.direction == "max" else ("lower", bound.lower)
    if decision.verdict == "failed":
        side, clear = ("lower", bound.lower) if gate.direction == "max" else ("upper", bound.upper)
    missing = f", {decision.missing} of them without a verdict and counted as the worst" if decision.missing else ""
    return finding(
        f"gate-{decision.verdict}",
        subject=f"{decision.subject} ({exhibit})",
        expected=_asked(decision),
        got=(
            f"{bound.estimate:.4g}, {side} {gate.confidence:.0%} bound {clear:.4g}, on {bound.units} {decision.units}"
            f"{missing}"
        ),
        fix=_advice(decision),
    )


def _asked(decision: Decision) -> str:
    """Return what a gate asks of its bound."""
    gate = decision.gate
    if decision.verdict == "too-few":
        return f"at least {gate.min_samples} measured prompts"
    side, sign = ("upper", "at most") if gate.direction == "max" else ("lower", "at least")
    return (
        f"an {side} bound of {sign} {decision.limit:g}"
        if side == "upper"
        else f"a {side} bound of {sign} {decision.limit:g}"
    )


def _advice(decision: Decision) -> str:
    """Return how a gate could still be decided."""
    if decision.verdict == "failed":
        return "the composition violates this gate: change the patches, their order or the method"
    if decision.verdict == "too-few":
        return f"measure {decision.more} more prompts"
    if decision.more is None:
        return (
            "no number of prompts like these would decide it: the value is too near the limit, or verdicts are missing"
        )
    bound = decision.bound
    assert bound is not None
    good = bound.estimate <= decision.limit if decision.gate.direction == "max" else bound.estimate >= decision.limit
    return (
        f"measure about {decision.more} more {decision.units}: if they are like these, they "
        f"{'prove that the gate is passed' if good else 'show that the gate is violated'}"
    )
