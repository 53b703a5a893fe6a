"""Every rule on a lock, and a verdict with everything that was found. Whatever goes wrong, goes wrong as a denial.

A static check looks at the lock and the store. A full one looks at evidence too, and nothing else proves a composition:
a rule that raises, hangs or gives no answer denies, a missing file denies, and no argument turns a rule off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from compose import digest
from compose.errors import Rejected
from compose.patch_files import SIGNATURE_FILE, PlainPatch
from compose.trust.authorship import authors_of
from compose.trust.claims import Finding, Lock, LockedPatch, Verdict, lock_digest
from compose.trust.evidence import PAYLOAD_TYPE, read_statement
from compose.trust.keyring import Keyring, PublicKey
from compose.trust.rules import RULES, Rule
from compose.trust.rules.case import Case, Exhibit
from compose.trust.rules.finding import finding
from compose.trust.seal import open_seal
from compose.trust.suites import Pins

MAX_AGE = timedelta(days=90)
"""Older evidence does not count."""
RULE_TIMEOUT_S = 30.0
MAX_FINDINGS = 10_000
MAX_EXHIBITS = 64


class Shelf(Protocol):
    """Where patches are found: the store, or a release that was fetched."""

    def get(self, prefix: str, card_digest: str) -> PlainPatch:
        """Return a patch, read once and found to have these digests.

        Raises:
            Rejected: It is not there, or is damaged.
        """
        ...

    def find(self, prefix: str) -> PlainPatch:
        """Return a patch with this matrix, whatever its card.

        Raises:
            Rejected: It is not there, or is damaged.
        """
        ...

    def signature(self, prefix: str, card_digest: str) -> bytes | None:
        """Return what its author has signed of a patch, not verified; None for a patch without a signature.

        Raises:
            Rejected: It cannot be read.
        """
        ...


def gather(
    lock: Lock,
    shelf: Shelf,
    evidence: Mapping[str, bytes],
    *,
    keyring: Keyring,
    pins: Pins,
    now: datetime,
    max_age: timedelta = MAX_AGE,
) -> Case:
    """Return everything that rules look at, each file read once and what was refused kept as a refusal.

    Args:
        lock: The lock.
        shelf: Where its patches are.
        evidence: Name of each file of evidence -> its bytes.
        keyring: The keys that are trusted.
        pins: The suites that are vouched for.
        now: The moment of the check.
        max_age: Older evidence does not count.

    Raises:
        Rejected: `evidence-invalid` for more than `MAX_EXHIBITS` files.
    """
    if len(evidence) > MAX_EXHIBITS:
        raise Rejected(
            "evidence-invalid",
            subject="the evidence",
            expected=f"at most {MAX_EXHIBITS} files",
            got=str(len(evidence)),
            fix="give the evidence about this lock alone",
        )
    start = lock.method.params.get("init")
    init: PlainPatch | Rejected | None = None
    if lock.method.name == "sum":
        init = _tried(shelf.find, start) if isinstance(start, str) else None
    return Case(
        lock=lock,
        digest=lock_digest(lock),
        patches={patch.name: _tried(shelf.get, patch.digest, patch.card) for patch in lock.patches},
        authors={patch.name: _authors(patch, shelf, keyring, now) for patch in lock.patches},
        pinned=keyring.authors,
        init=init,
        exhibits=tuple(_exhibit(name, data, keyring, now) for name, data in evidence.items()),
        pins=pins,
        now=now,
        max_age=max_age,
    )


def check(case: Case, *, proven: bool, rules: Sequence[Rule] = RULES, timeout_s: float = RULE_TIMEOUT_S) -> Verdict:
    """Return the verdict on a composition.

    Args:
        case: The composition, see `gather`.
        proven: Whether it must be proven by evidence. Without it the verdict is about the lock alone, and says so.
        rules: The rules; all of them, outside of tests.
        timeout_s: How long a rule may take.
    """
    findings: list[Finding] = []
    asked = [rule for rule in rules if proven or not rule.of_evidence]
    for rule in asked:
        findings += _answer(rule, case, timeout_s)
    if not asked or (proven and not any(rule.of_evidence for rule in asked)):
        findings.append(_failed("the table of rules", "no rule that could prove anything"))
    if not proven:
        findings.append(
            finding(
                "static-only",
                subject=f"composition {case.lock.name} {case.lock.version}",
                expected="evidence, before anyone relies on it",
                got="a check of the lock and its patches alone",
                fix="measure it with `compose evaluate compose.lock`, and check it with --evidence",
                severity="warning",
            )
        )
    if len(findings) > MAX_FINDINGS:
        left = len(findings) - MAX_FINDINGS
        errors_first = sorted(findings, key=lambda one: one.severity != "error")
        findings = [*errors_first[:MAX_FINDINGS], _failed("the findings", f"{left} more than can be told")]
    return Verdict(
        decision="deny" if any(one.severity == "error" for one in findings) else "allow",
        lock=case.digest,
        evidence=tuple(exhibit.digest for exhibit in case.exhibits) if proven else (),
        findings=tuple(findings),
    )


def check_release(
    lock: Lock, shelf: Shelf, evidence: Mapping[str, bytes], *, keyring: Keyring, pins: Pins, now: datetime
) -> Verdict:
    """Return the full verdict that a release, and whoever applies one, rests on. There is no shorter way.

    Raises:
        Rejected: As `gather`.
    """
    return check(gather(lock, shelf, evidence, keyring=keyring, pins=pins, now=now), proven=True)


def _authors(patch: LockedPatch, shelf: Shelf, keyring: Keyring, now: datetime) -> tuple[PublicKey, ...] | Rejected:
    """Return who has signed a patch, or why its signature was refused."""
    try:
        data = shelf.signature(patch.digest, patch.card)
        return () if data is None else authors_of(data, patch, keyring, now, subject=SIGNATURE_FILE)
    except Rejected as error:
        return error


def _exhibit(name: str, data: bytes, keyring: Keyring, now: datetime) -> Exhibit:
    """Return one file of evidence, opened."""
    try:
        opened = open_seal(data, keyring, "evaluator", now, payload_type=PAYLOAD_TYPE, subject=name)
        return Exhibit(name, digest.of_bytes(data), read_statement(opened.payload, subject=name))
    except Rejected as error:
        return Exhibit(name, digest.of_bytes(data), refused=error)


def _tried(read: Callable[..., PlainPatch], *names: str) -> PlainPatch | Rejected:
    """Return what a shelf holds, or why it does not."""
    try:
        return read(*names)
    except Rejected as error:
        return error


def _answer(rule: Rule, case: Case, timeout_s: float) -> list[Finding]:
    """Return a rule's findings, or the finding that it has failed."""
    answers: list[list[Finding] | BaseException] = []

    def ask() -> None:
        try:
            answers.append(_listed(rule.check(case)))
        except BaseException as error:  # SystemExit too: no rule ends the check
            answers.append(error)

    thread = threading.Thread(target=ask, name=f"rule {rule.name}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answers:
        return [_failed(f"rule {rule.name}", f"no answer within {timeout_s:g} s")]
    answer = answers[0]
    if isinstance(answer, BaseException):
        return [_failed(f"rule {rule.name}", f"{type(answer).__name__}: {answer}")]
    return answer


def _listed(answer: Iterable[Finding]) -> list[Finding]:
    """Return a rule's findings as a list.

    Raises:
        TypeError: It is none, or holds something else.
    """
    found = list(answer)
    if any(not isinstance(one, Finding) for one in found):
        raise TypeError("a rule must give findings and nothing else")
    return found


def _failed(subject: str, got: str) -> Finding:
    """Return the finding about a rule that gave no answer."""
    return finding(
        "rule-failed",
        subject=subject,
        expected="findings, or none",
        got=got,
        fix="this is a fault of compose or of this machine, and not of the composition: please report it",
    )
