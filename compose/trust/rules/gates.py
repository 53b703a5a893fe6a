"""Every gate of the lock is proven by the evidence, and every risk that a patch is there for has a gate.

A gate is proven when at least one file of evidence measured it and every one that did proves it: who measures again
until it fits must hide what did not.
"""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import METRICS, Finding, GateClaim
from compose.trust.evidence import gate_name
from compose.trust.gates import Decision, decide
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
        found = [(name, decision) for name, decision in decisions if decision.verdict != "unmeasured"]
        if not found:
            yield _unmeasured(gate)
        for name, decision in found:
            if decision.verdict != "passed":
                yield _unproven(name, decision)


def _unmeasured(gate: GateClaim) -> Finding:
    """Return the finding about a gate whose metric nobody measured."""
    return finding(
        "gate-unmeasured",
        subject=gate_name(gate),
        expected=f"evidence with {gate.metric}",
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
