"""Findings, and the table of their codes. Codes are stable: scripts may match on them.

A file that was refused is a finding too, under the code of `compose.errors.CODES` that it was refused with.
"""

from __future__ import annotations

from typing import Literal

from compose.errors import CODES as REFUSED
from compose.errors import Rejected
from compose.trust.claims import Finding

MAX_CHARACTERS = 1000

CODES: dict[str, str] = {
    "rule-failed": "a rule raised, hung or gave no answer, so nothing that it would have found is known",
    "static-only": "only the lock was checked: without evidence nothing is proven",
    "patch-mismatch": "a lock says something of a patch that its card does not",
    "patch-unproven": "a patch whose origin nobody recorded",
    "patch-base": "a patch was made for another base than the lock's",
    "patch-unsigned": "nobody has signed a patch",
    "patch-author": "a patch is signed by another author than the keyring says",
    "patch-width": "a patch is not as wide as the result",
    "result-mismatch": "a lock's result is not what its method makes of its patches",
    "result-norm": "the rows of a result are much shorter or longer than those it was made of",
    "result-distance": "the rows of a result lie much further from the base's tokens than those it was made of",
    "budget-exceeded": "a composition takes up more of the context than a base has to spare",
    "requires-missing": "a patch requires another one that is not there",
    "conflicts-present": "a patch conflicts with another one that is there",
    "breaks-present": "a patch is known to undo another one that is there",
    "provides-twice": "several patches provide the same",
    "risk-ungated": "no gate limits a risk that a patch is there for",
    "utility-ungated": "no gate limits what the composition costs in fluency or in refusals of benign requests",
    "evidence-missing": "there is no evidence about this very composition",
    "evidence-other-lock": "evidence is about another lock: a part of the composition, an older one, another one",
    "evidence-other-base": "evidence was measured on another base",
    "evidence-other-patch": "evidence was measured with other matrices",
    "evidence-other-suite": "evidence was measured on other prompts, or by another judge",
    "evidence-other-seed": "evidence was sampled with another seed than the lock's own",
    "evidence-future": "evidence was made later than now",
    "evidence-stale": "evidence is older than is admitted",
    "evidence-order": "prompts were not asked in the order that follows from the lock, so they may have been picked",
    "evidence-incomplete": "evidence leaves out prompts or completions",
    "evidence-silent": "the judge judged nothing, or the composition said nothing",
    "evidence-unjudged": "some completions were not judged; they count against the composition",
    "evidence-contradicts": "evidence claims another outcome than its own numbers give",
    "suite-unknown": "evidence was measured on a suite that nobody vouches for",
    "gate-failed": "a gate is violated beyond doubt",
    "gate-undecided": "the numbers neither prove that a gate is passed nor that it is violated",
    "gate-too-few": "fewer prompts were measured than the gate asks for",
    "gate-unmeasured": "no evidence has the metric of a gate",
}


def finding(
    code: str,
    *,
    subject: str,
    expected: str,
    got: str,
    fix: str,
    severity: Literal["error", "warning"] = "error",
) -> Finding:
    """Return a finding; strangers' text in it is cut and made plain.

    Raises:
        KeyError: The code is in no table.
    """
    if code not in CODES and code not in REFUSED:
        raise KeyError(f"finding code {code!r} is in no table")
    return Finding(
        code=code,
        severity=severity,
        subject=_plain(subject),
        expected=_plain(expected),
        got=_plain(got),
        fix=_plain(fix),
    )


def refused(error: Rejected, *, subject: str = "", severity: Literal["error", "warning"] = "error") -> Finding:
    """Return the finding about something that was refused, under the same code.

    Args:
        error: Why it was refused.
        subject: What it was, where the error's own subject does not say it.
        severity: Whether it denies.
    """
    return finding(
        error.code,
        subject=f"{subject}: {error.subject}" if subject else error.subject,
        expected=error.expected,
        got=error.got,
        fix=error.fix,
        severity=severity,
    )


def _plain(text: str) -> str:
    """Return text in printable ASCII, cut where it is long."""
    shown = "".join(letter if " " <= letter <= "~" else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 3] + "..."
