"""Every file of evidence is sealed by an evaluator whose key counts now: one bad file denies, whatever others say."""

from __future__ import annotations

from collections.abc import Iterator

from compose.trust.claims import Finding
from compose.trust.rules.case import Case
from compose.trust.rules.finding import refused


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every file whose seal or statement was refused."""
    for exhibit in case.exhibits:
        if exhibit.refused is not None:
            yield refused(exhibit.refused, subject=exhibit.name)
