"""Every patch was made for the lock's base, known by its fingerprint and never by its name, and fits the result."""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import Finding
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every patch of another base, of unknown origin, or of another width."""
    for patch, card in case.cards():
        if card.base.fingerprint != case.lock.base.fingerprint:
            yield finding(
                "patch-base",
                subject=f"patch {patch.name} {patch.version}",
                expected=f"the lock's base {case.lock.base.name}, {case.lock.base.fingerprint}",
                got=f"{card.base.name or 'a base without a name'}, {card.base.fingerprint or 'no fingerprint'}",
                fix="lock patches of one base: its weights, config, tokenizer and chat template all count",
            )
        if card.status != "proven":
            yield finding(
                "patch-unproven",
                subject=f"patch {patch.name} {patch.version}",
                expected="a patch whose card says what it was made for and from",
                got="one that came without a card, or a part of which did",
                fix="train the patch with compose, or get the whole folder from whoever made it",
            )
        if card.dim != case.lock.result.dim:
            yield finding(
                "patch-width",
                subject=f"patch {patch.name} {patch.version}",
                expected=f"the width of the result, {case.lock.result.dim}",
                got=str(card.dim),
                fix="make the lock again with `compose lock`",
            )
