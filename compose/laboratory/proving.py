"""A locked composition on the suites that its gates ask for, prompt by prompt: what evidence is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from compose import durable
from compose.artifact import Patch
from compose.base import Base
from compose.engine.patched import PatchedModel
from compose.errors import Rejected
from compose.evaluate.results import Measurement
from compose.evaluate.risks import RISK_KINDS, Risk
from compose.evaluate.suites import Suite
from compose.evaluate.utility import Utility
from compose.laboratory import provenance
from compose.laboratory.asking import until_settled, whole
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.series import BASE, COMPOSITION, MEMBER, nearness_of, outcome_of, passages_of, series_of
from compose.trust.claims import Lock, lock_digest
from compose.trust.clock import instant
from compose.trust.evidence import Measured, seed_of
from compose.trust.suites import PassagesPin, SuitePart, SuitePin, ids_digest

ALWAYS = "over_refusal"
"""The suite that every composition is measured on: what safety may have cost."""


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
    stop_early: bool = False,
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
        stop_early: Ask a part until its gates are settled, where it can be, instead of all of its prompts; whoever
            checks then counts by bounds that hold at any time. To be chosen before anything is measured.

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

    def answers(suite: str, risk: Risk) -> Mapping[str, Measurement]:
        return measured(prefixes, replace(yardstick, risks=(risk,)), store, f"{suite}/{risk.name}")

    ask = partial(until_settled, lock=lock) if stop_early else whole
    asked = [ask(suite.spec.name, risk, answers) for suite in suites for risk in suite.risks]
    passages = None
    if utility is not None:
        passages = passages_of(utility, measured(prefixes, replace(yardstick, utility=utility), store, "utility"))
    return Measured(
        base=base.fingerprint,
        composition=composition.card.prefix,
        members={locked.name: locked.digest for locked in lock.patches},
        seed=yardstick.seed,
        stopping="sequential" if stop_early else "fixed",
        made=instant(now),
        suites={suite.spec.name: pin_of(suite) for suite in suites},
        outcomes=tuple(outcome_of(part) for part in asked),
        series=tuple(one for part in asked for one in series_of(part)),
        passages=passages,
        nearness=nearness_of(base, prefixes),
        software=provenance.versions(),
        command=provenance.command_line(),
    )
