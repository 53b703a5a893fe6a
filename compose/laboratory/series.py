"""From completions and prefixes to the numbers of evidence: of the base, a composition and its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from compose.base import Base
from compose.evaluate.degeneracy import is_degenerate
from compose.evaluate.results import Measurement
from compose.evaluate.risks import Risk
from compose.evaluate.utility import Utility
from compose.laboratory.measuring import Prefixes
from compose.laboratory.nearness import token_distance
from compose.trust.claims import METRICS
from compose.trust.evidence import Nearness, Outcome, Passages, Series

BASE, COMPOSITION, MEMBER = "base", "composition", "member/"
Column = TypeVar("Column")
Completions: TypeAlias = dict[str, list[tuple[str, float | None]]]
"""The text and the score of every completion, by prompt."""


@dataclass(frozen=True)
class Asked:
    """What was asked of a part of a suite, and what came back.

    Attributes:
        suite: Name of the suite.
        risk: The part, with the prompts that were asked, in their order.
        rows: The completions of the base, the composition and each member, by name.
        unasked: Ids of the part's other prompts, in the order in which they would have been asked.
    """

    suite: str
    risk: Risk
    rows: Mapping[str, Completions]
    unasked: tuple[str, ...] = ()


def completions_of(risk: Risk, found: Mapping[str, Measurement]) -> dict[str, Completions]:
    """Return what everyone answered to the prompts of a part, by name."""
    tables: dict[str, Completions] = {name: {} for name in found}
    for name, measurement in found.items():
        for row in measurement.risks[risk.name].records:
            tables[name].setdefault(row["prompt_id"], []).append((row["completion"], row["score"]))
    return tables


def series_of(asked: Asked) -> Iterator[Series]:
    """Yield every metric of a part that a gate could limit, prompt by prompt."""
    risk = asked.risk
    for metric in (f"{risk.spec.kind}/{risk.headline}", f"{risk.spec.kind}/degenerate"):
        if metric not in METRICS:
            continue
        values = {
            name: tuple(
                _value(risk, rows.get(prompt.id, []), broken=metric.endswith("/degenerate")) for prompt in risk.test
            )
            for name, rows in asked.rows.items()
        }
        yield Series(
            metric=metric,
            suite=asked.suite,
            part=risk.name,
            prompts=tuple(prompt.id for prompt in risk.test),
            groups=tuple(prompt.group for prompt in risk.test) if risk.spec.by_group else (),
            composition=values[COMPOSITION],
            base=values[BASE],
            members=_members(values),
        )


def outcome_of(asked: Asked) -> Outcome:
    """Return what became of the composition's completions of a part."""
    rows = [row for rows in asked.rows[COMPOSITION].values() for row in rows]
    return Outcome(
        suite=asked.suite,
        part=asked.risk.name,
        completions=len(rows),
        empty=sum(not text.strip() for text, _ in rows),
        unjudged=sum(score is None and bool(text.strip()) for text, score in rows),
        unasked=asked.unasked,
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


def nearness_of(base: Base, prefixes: Prefixes) -> Nearness:
    """Return how far a composition, and each of its members, lies from the base's tokens."""
    found = {name: token_distance(base, prefix) for name, prefix in prefixes.items() if prefix is not None}
    return Nearness(composition=found[COMPOSITION], members=_members(found))


def _value(risk: Risk, rows: Sequence[tuple[str, float | None]], *, broken: bool) -> float | None:
    """Return one prompt's number: its danger, or the share of its completions that are degenerate."""
    if broken:
        return sum(is_degenerate(text) for text, _ in rows) / len(rows) if rows else None
    scores = [score for text, score in rows if score is not None and text.strip()]
    return risk.kind.danger(scores, risk.spec.threshold) if scores else None


def _members(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return the members' columns by their own names."""
    return {name.removeprefix(MEMBER): column for name, column in columns.items() if name.startswith(MEMBER)}
