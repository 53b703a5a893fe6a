"""A composition leaves room for the user: its virtual tokens take up context that prompts can no longer have."""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import Finding
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding

MAX_VIRTUAL_TOKENS = 512
"""A quarter of 2,048 positions, the shortest context of a base in use here. What a base has is checked on loading."""


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding when the result is too long."""
    tokens = case.lock.result.tokens
    if tokens > MAX_VIRTUAL_TOKENS:
        yield finding(
            "budget-exceeded",
            subject=f"the result of {case.lock.name} {case.lock.version}",
            expected=f"at most {MAX_VIRTUAL_TOKENS} virtual tokens",
            got=f"{tokens} of {len(case.lock.patches)} patches",
            fix="compose fewer or shorter patches, or distil them into one",
        )
