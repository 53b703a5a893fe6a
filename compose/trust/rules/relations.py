"""What the cards say of each other holds: requires, conflicts, breaks, and who provides what."""

from __future__ import annotations

from collections.abc import Iterator

from compose.records import PatchCard, Relation
from compose.trust.claims import Finding
from compose.trust.ranges import ANY, admits
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every relation that does not hold in this composition."""
    cards = [card for _, card in case.cards()]
    for card in cards:
        others = [other for other in cards if other is not card]
        for wanted in card.requires:
            if not any(_is(wanted, other) or _provides(wanted, other) for other in others):
                yield _broken("requires-missing", card, wanted, "no such patch", "add it to the manifest")
        for unwanted in card.conflicts:
            for other in others:
                if _is(unwanted, other) or unwanted.name in other.provides:
                    yield _broken("conflicts-present", card, unwanted, _called(other), "leave one of them out")
        for undone in card.breaks:
            for other in others:
                if _is(undone, other):
                    yield _broken("breaks-present", card, undone, _called(other), "leave one of them out")
    yield from _provided_twice(cards)


def _provided_twice(cards: list[PatchCard]) -> Iterator[Finding]:
    """Yield a warning for every name that several patches provide."""
    for name in dict.fromkeys(name for card in cards for name in card.provides):
        providers = [_called(card) for card in cards if name in card.provides]
        if len(providers) > 1:
            yield finding(
                "provides-twice",
                subject=f"providers of {name}",
                expected="one",
                got=", ".join(providers),
                fix="keep the one that you mean, unless both are needed",
                severity="warning",
            )


def _is(relation: Relation, card: PatchCard) -> bool:
    """Return whether a relation means a patch by its own name and version."""
    return relation.name == card.name and admits(relation.range, card.version)


def _provides(relation: Relation, card: PatchCard) -> bool:
    """Return whether a patch provides what is required; what is provided has no version, so only any will do."""
    return relation.range == ANY and relation.name in card.provides


def _called(card: PatchCard) -> str:
    return f"{card.name} {card.version}"


def _broken(code: str, card: PatchCard, relation: Relation, got: str, fix: str) -> Finding:
    """Return the finding about a relation that does not hold."""
    verb = code.partition("-")[0]
    without = "" if verb == "requires" else "no "
    return finding(
        code,
        subject=f"patch {_called(card)} {verb} {relation.name} {relation.range}",
        expected=f"{without}{relation.name} {relation.range} in the composition",
        got=got,
        fix=fix,
    )
