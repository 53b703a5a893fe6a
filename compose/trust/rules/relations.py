"""What the cards say of each other holds, as the resolver understands it: requires, conflicts, breaks, provides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compose.trust.claims import Finding
from compose.trust.resolve import broken_relations, concerns
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding
from compose.trust.store import Stored

CODES = {"requires": "requires-missing", "conflicts": "conflicts-present", "breaks": "breaks-present"}


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every relation that does not hold, a warning for what several patches provide."""
    members = [Stored(card, patch.card) for patch, card in case.cards()]
    for member, kind, relation in broken_relations(members):
        others = [other for other in members if other is not member and concerns(kind, relation, other)]
        wanted = f"{relation.name} {relation.range}"
        yield finding(
            CODES[kind],
            subject=f"patch {member.label} {kind} {wanted}",
            expected=f"{'' if kind == 'requires' else 'no '}{wanted} in the composition",
            got=", ".join(other.label for other in others) or "no such patch",
            fix="add it to the manifest" if kind == "requires" else "leave one of them out",
        )
    yield from _provided_twice(members)


def _provided_twice(members: Sequence[Stored]) -> Iterator[Finding]:
    """Yield a warning for every name that several patches provide."""
    for name in dict.fromkeys(name for member in members for name in member.card.provides):
        providers = [member.label for member in members if name in member.card.provides]
        if len(providers) > 1:
            yield finding(
                "provides-twice",
                subject=f"providers of {name}",
                expected="one",
                got=", ".join(providers),
                fix="keep the one that you mean, unless both are needed",
                severity="warning",
            )
