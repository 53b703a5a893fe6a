"""Filters of preference pairs, and the table that says what became of every candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.records import SETTINGS

Count = Annotated[int, Field(ge=0)]
Outcome = Literal["unanswered", "empty", "unjudged", "duplicate", "margin", "reversed", "winner", "kept"]
"""What becomes of a candidate, in the order in which it is asked."""

MEANINGS: Mapping[str, str] = {
    "candidates": "pairs that could have been made",
    "unanswered": "the reference gave no answer",
    "empty": "one side has no words",
    "unjudged": "the judge could not score one side",
    "duplicate": "both sides equal, or the pair seen before",
    "margin": "the scores are too close",
    "reversed": "the chosen side is the less safe one",
    "winner": "the chosen side is not safe enough",
    "kept": "pairs to train on",
}
"""What each row of the table counts."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class FilterTable:
    """How many candidate pairs there were and what became of them; the other counts add up to `candidates`.

    A candidate is one place of `pairs_per_prompt` of one prompt. Each is counted under the first filter that
    dropped it.
    """

    candidates: Count = 0
    unanswered: Count = 0
    empty: Count = 0
    unjudged: Count = 0
    duplicate: Count = 0
    margin: Count = 0
    reversed: Count = 0
    winner: Count = 0
    kept: Count = 0

    def dropped(self) -> dict[str, int]:
        """Return what was dropped by each filter that dropped anything."""
        names = [name for name in MEANINGS if name not in ("candidates", "kept")]
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Filters:
    """When a pair is worth training on (2511.08484, section on preference data).

    Args:
        margin: `|S(rejected) - S(chosen)|` must be above this.
        winner: `S(chosen)` must be below this.
    """

    margin: Annotated[float, Field(ge=0, lt=1)]
    winner: Annotated[float, Field(gt=0)]

    def outcome(self, chosen: float, rejected: float) -> Outcome:
        """Return what becomes of a pair with these scores, higher scores being less safe.

        The published margin is absolute, so by itself it lets a pair pass whose chosen side is the *less*
        safe one. Such a pair teaches the opposite of what is wanted; it is dropped as `reversed`.
        """
        if not abs(rejected - chosen) > self.margin:
            return "margin"
        if chosen >= rejected:
            return "reversed"
        return "kept" if chosen < self.winner else "winner"
