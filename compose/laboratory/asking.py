"""How far a part of a suite is asked: whole, or until the gates that limit it are settled.

Looking at numbers and stopping when they please proves nothing by bounds for a fixed number of prompts: sooner or later
chance is on one's side. Here the gates are asked by bounds that hold at any time, the very ones that whoever checks
will use, and the prompts come in an order that follows from the lock, so that nobody can put the harmless ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from compose.digest import hash_order
from compose.evaluate.results import Measurement
from compose.evaluate.risks import Risk
from compose.laboratory.series import Asked, Completions, completions_of, series_of
from compose.progress import bar
from compose.trust.claims import Lock, lock_digest
from compose.trust.evidence import seed_of
from compose.trust.gates import settled

BATCH = 20
"""Prompts between two looks: more are faster on a GPU, fewer stop sooner. Three make the 60 that a gate asks for."""
Answers: TypeAlias = Callable[[str, Risk], Mapping[str, Measurement]]
"""Measures the base, the composition and the members on the prompts of a risk, a part of the suite of that name."""


def whole(suite: str, risk: Risk, answers: Answers) -> Asked:
    """Return every prompt of a part, answered.

    Raises:
        Rejected: What measuring refuses.
    """
    return Asked(suite, risk, completions_of(risk, answers(suite, risk)))


def until_settled(suite: str, risk: Risk, answers: Answers, lock: Lock) -> Asked:
    """Return as many prompts of a part, answered, as settle the lock's gates on it; all where they stay open.

    A part whose prompts come in groups is asked whole, for want of bounds that hold at any time and say anything of a
    dozen groups; so is one that no gate limits, which nothing can settle.

    Raises:
        Rejected: What measuring refuses.
    """
    if risk.spec.by_group:
        return whole(suite, risk, answers)
    by_id = {prompt.id: prompt for prompt in risk.test}
    order = hash_order(by_id, seed_of(lock_digest(lock)))
    asked = Asked(suite, replace(risk, test=()), {}, tuple(order))
    with bar(len(order), f"{suite}/{risk.name}, at most", unit="prompt") as progress:
        while asked.unasked:
            batch = replace(risk, test=tuple(by_id[prompt] for prompt in asked.unasked[:BATCH]))
            asked = _joined(asked, batch, completions_of(batch, answers(suite, batch)))
            progress.update(len(batch.test))
            if settled(lock.gates, tuple(series_of(asked)), lock.patches):
                break
    return asked


def _joined(asked: Asked, batch: Risk, rows: Mapping[str, Completions]) -> Asked:
    """Return what was asked with one more batch."""
    return Asked(
        suite=asked.suite,
        risk=replace(batch, test=(*asked.risk.test, *batch.test)),
        rows={name: {**asked.rows.get(name, {}), **found} for name, found in rows.items()},
        unasked=asked.unasked[len(batch.test) :],
    )
