"""A composition stays about as near to the base's tokens as its patches do, or else there is a warning."""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import Finding
from compose.trust.evidence import Nearness
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding

FURTHEST = 1.5
"""A result may lie this many times as far from the nearest tokens as the furthest of its patches.

Two changes of one start that have nothing in common add up to 1.4 of one. On SmolLM2-135M the mean of two patches from
different starts lay 1.9 times as far as either, at a norm that tells nothing.
"""


def limit(near: Nearness) -> float:
    """Return how far from the nearest tokens a composition may lie without a warning."""
    return FURTHEST * max(near.members.values())


def check(case: Case) -> Iterator[Finding]:
    """Yield a warning when evidence has the composition much further from the base's tokens than every patch of it."""
    for exhibit, statement in case.statements():
        near = statement.predicate.measured.nearness
        if near is None:
            continue
        if near.composition > limit(near):
            yield finding(
                "result-distance",
                subject=f"{exhibit.name}: the result of {case.lock.name} {case.lock.version}",
                expected=f"rows at most {limit(near):.3g} from the nearest token, for its patches lie "
                f"{', '.join(f'{value:.3g} ({name})' for name, value in near.members.items())} from it",
                got=f"{near.composition:.3g}",
                fix="look at its measurements with care: patches that were trained apart may end where the base "
                "was never led; train them from one start, or stack them",
                severity="warning",
            )
