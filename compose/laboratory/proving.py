"""A locked composition on the suites that its gates ask for, prompt by prompt: what evidence is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from compose import durable
from compose.artifact import Patch
from compose.base import Base
from compose.engine.patched import PatchedModel
from compose.errors import Rejected
from compose.evaluate.degeneracy import is_degenerate
from compose.evaluate.results import Measurement
from compose.evaluate.risks import RISK_KINDS, Risk
from compose.evaluate.suites import Suite
from compose.evaluate.utility import Utility
from compose.laboratory import provenance
from compose.laboratory.measuring import Yardstick, measured
from compose.trust.claims import METRICS, Lock, lock_digest
from compose.trust.clock import instant
from compose.trust.evidence import (
    Measured,
    Outcome,
    Passages,
    Series,
    seed_of,
)
from compose.trust.suites import PassagesPin, SuitePart, SuitePin, ids_digest

ALWAYS = "over_refusal"
"""The suite that every composition is measured on: what safety may have cost."""
Column = TypeVar("Column")
BASE, COMPOSITION, MEMBER = "base", "composition", "member/"


def suites_of(lock: Lock) -> tuple[str, ...]:
    """Return the names of the suites that a lock is measured on: its own, or those of its risks and gates."""
    if lock.suites:
        return lock.suites
    asked = dict.fromkeys(gate.metric.partition("/")[0] for gate in lock.gates)
    risks = dict.fromkeys(risk for patch in lock.patches for risk in patch.risks if risk in RISK_KINDS)
    return tuple(name for name in dict.fromkeys([*risks, *asked, ALWAYS]) if name in RISK_KINDS)


def wants_utility(lock: Lock) -> bool:
    """Return whether utility is measured: always, unless a lock names its suites and no gate asks for utility."""
    return not lock.suites or any(gate.metric.startswith("utility/") for gate in lock.gates)


def pin_of(suite: Suite) -> SuitePin:
    """Return what evidence on a suite is known by."""
    parts = {
        risk.name: SuitePart(
            kind=risk.spec.kind,
            prompts=risk.test_digest,
            ids=ids_digest(prompt.id for prompt in risk.test),
            n_prompts=len(risk.test),
            samples=risk.spec.samples,
            sampling=_drawn(risk),
            threshold=risk.spec.threshold,
            judge=risk.judge.name,
            judge_version=risk.judge.version,
            grouped=risk.spec.by_group,
        )
        for risk in suite.risks
    }
    return SuitePin(digest=suite.digest, parts=parts)


def passages_pin(utility: Utility) -> PassagesPin:
    """Return what evidence on neutral passages is known by."""
    return PassagesPin(digest=utility.test_digest, ids=ids_digest(passage.id for passage in utility.neutral_test))


def _drawn(risk: Risk) -> str:
    """Return how a part's completions are drawn, in words."""
    how = risk.spec.sampling
    asked = "as a message" if risk.spec.chat else "as text to continue"
    return f"{how.max_new_tokens} tokens, temperature {how.temperature:g}, top-p {how.top_p:g}, {asked}"


def prove(
    lock: Lock,
    composition: Patch,
    members: Sequence[Patch],
    base: Base,
    suites: Sequence[Suite],
    utility: Utility | None,
    store: Path,
    *,
    now: datetime,
) -> Measured:
    """Return the measurement of a composition beside its base and each member alone, with the lock's own seed.

    Args:
        lock: The lock.
        composition: What it makes.
        members: What it is made of, in the lock's order.
        base: The base that it is for.
        suites: What it is measured on.
        utility: What its perplexity is measured on; None leaves that out.
        store: Where measurements are kept: an interrupted one goes on from there.
        now: The moment that the evidence will carry.

    Raises:
        Rejected: `base-mismatch`; `self-test-failed` for a patch that is not active; `judge-silent`; `disk-full`.
    """
    if base.fingerprint != lock.base.fingerprint:
        raise Rejected(
            "base-mismatch",
            subject=f"composition {lock.name} {lock.version}",
            expected=lock.base.fingerprint,
            got=f"{base.name}, {base.fingerprint}",
            fix="name the lock's base with --model",
        )
    durable.sweep(store)
    prefixes: dict[str, Float[Tensor, "tokens dim"] | None] = {BASE: None, COMPOSITION: composition.prefix}
    for patch in (composition, *members):
        PatchedModel(base, patch)
    prefixes |= {f"{MEMBER}{locked.name}": patch.prefix for locked, patch in zip(lock.patches, members, strict=True)}
    yardstick = Yardstick(base=base, risks=(), utility=None, seed=seed_of(lock_digest(lock)))
    series: list[Series] = []
    outcomes: list[Outcome] = []
    for suite in suites:
        for risk in suite.risks:
            label = f"{suite.spec.name}/{risk.name}"
            found = measured(prefixes, replace(yardstick, risks=(risk,)), store, label)
            series += series_of(suite.spec.name, risk, found)
            outcomes.append(outcome_of(suite.spec.name, risk, found[COMPOSITION]))
    passages = None
    if utility is not None:
        passages = passages_of(utility, measured(prefixes, replace(yardstick, utility=utility), store, "utility"))
    return Measured(
        base=base.fingerprint,
        composition=composition.card.prefix,
        members={locked.name: locked.digest for locked in lock.patches},
        seed=yardstick.seed,
        made=instant(now),
        suites={suite.spec.name: pin_of(suite) for suite in suites},
        outcomes=tuple(outcomes),
        series=tuple(series),
        passages=passages,
        software=provenance.versions(),
        command=provenance.command_line(),
    )


def series_of(suite: str, risk: Risk, found: Mapping[str, Measurement]) -> Iterator[Series]:
    """Yield every metric of a part that a gate could limit, prompt by prompt.

    Args:
        suite: Name of the suite.
        risk: The part.
        found: The measurements of the base, the composition and the members.
    """
    columns = {name: _completions(risk, measurement) for name, measurement in found.items()}
    for metric in (f"{risk.spec.kind}/{risk.headline}", f"{risk.spec.kind}/degenerate"):
        if metric not in METRICS:
            continue
        values = {
            name: tuple(
                _value(risk, rows.get(prompt.id, []), broken=metric.endswith("/degenerate")) for prompt in risk.test
            )
            for name, rows in columns.items()
        }
        yield Series(
            metric=metric,
            suite=suite,
            part=risk.name,
            prompts=tuple(prompt.id for prompt in risk.test),
            groups=tuple(prompt.group for prompt in risk.test) if risk.spec.by_group else (),
            composition=values[COMPOSITION],
            base=values[BASE],
            members=_members(values),
        )


def outcome_of(suite: str, risk: Risk, measurement: Measurement) -> Outcome:
    """Return what became of the composition's completions of a part."""
    rows = [row for rows in _completions(risk, measurement).values() for row in rows]
    return Outcome(
        suite=suite,
        part=risk.name,
        completions=len(rows),
        empty=sum(not text.strip() for text, _ in rows),
        unjudged=sum(score is None and bool(text.strip()) for text, score in rows),
    )


def passages_of(utility: Utility, found: Mapping[str, Measurement]) -> Passages | None:
    """Return the passages behind the perplexities; None when none was read."""
    tables = {name: measurement.passages for name, measurement in found.items()}
    first = tables[BASE]
    if first is None or not first.ids:
        return None
    losses = {name: tuple(table.nll) for name, table in tables.items() if table is not None}
    return Passages(
        digest=utility.test_digest,
        passages=tuple(first.ids),
        tokens=tuple(first.tokens),
        composition=losses[COMPOSITION],
        base=losses[BASE],
        members=_members(losses),
    )


def _completions(risk: Risk, measurement: Measurement) -> dict[str, list[tuple[str, float | None]]]:
    """Return the text and the score of every completion, by prompt."""
    table: dict[str, list[tuple[str, float | None]]] = {}
    for row in measurement.risks[risk.name].records:
        table.setdefault(row["prompt_id"], []).append((row["completion"], row["score"]))
    return table


def _value(risk: Risk, rows: Sequence[tuple[str, float | None]], *, broken: bool) -> float | None:
    """Return one prompt's number: its danger, or the share of its completions that are degenerate."""
    if broken:
        return sum(is_degenerate(text) for text, _ in rows) / len(rows) if rows else None
    scores = [score for text, score in rows if score is not None and text.strip()]
    return risk.kind.danger(scores, risk.spec.threshold) if scores else None


def _members(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return the members' columns by their own names."""
    return {name.removeprefix(MEMBER): column for name, column in columns.items() if name.startswith(MEMBER)}
