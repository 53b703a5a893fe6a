"""The rules that a composition must pass: one family a file, pure functions from a case to findings, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from compose.trust.claims import Finding
from compose.trust.rules import artifact, base, budget, evidence, gates, nearness, relations, signatures
from compose.trust.rules.case import Case


class Rule(NamedTuple):
    """A rule by name.

    Attributes:
        name: What findings about the rule itself call it.
        check: From a case to its findings.
        of_evidence: Whether it is about evidence; the others need only the lock and the store.
    """

    name: str
    check: Callable[[Case], Iterable[Finding]]
    of_evidence: bool = False


RULES: tuple[Rule, ...] = (
    Rule("artifact", artifact.check),
    Rule("base", base.check),
    Rule("budget", budget.check),
    Rule("relations", relations.check),
    Rule("coverage", gates.covered),
    Rule("authors", signatures.authors),
    Rule("signatures", signatures.check, of_evidence=True),
    Rule("evidence", evidence.check, of_evidence=True),
    Rule("gates", gates.check, of_evidence=True),
    Rule("nearness", nearness.check, of_evidence=True),
)
"""Every rule, in the order of the findings."""
