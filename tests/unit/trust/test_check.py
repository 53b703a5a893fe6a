"""The check as a whole: what it takes to be allowed, and that whatever goes wrong goes wrong as a denial."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from compose.errors import Rejected
from compose.trust.check import MAX_EXHIBITS, check, check_release, gather
from compose.trust.claims import Finding, lock_digest
from compose.trust.rules import RULES, Rule
from compose.trust.rules.case import Case
from tests.unit.trust.cases import NOW, Drawer, codes, keyring, locked, measurement, members, pins, sealed, verdict


def sound(*, evidence: bool = True) -> Case:
    held = members()
    lock = locked(held)
    files = {"e.json": sealed(lock, measurement(lock))} if evidence else {}
    return gather(lock, Drawer(held), files, keyring=keyring(), pins=pins(), now=NOW)


def test_a_composition_with_evidence_for_every_gate_is_allowed() -> None:
    found = check(sound(), proven=True)

    assert (found.decision, found.findings) == ("allow", ())
    assert found.lock == sound().digest
    assert len(found.evidence) == 1


def test_without_evidence_nothing_is_proven() -> None:
    found = check(sound(evidence=False), proven=True)

    assert found.decision == "deny"
    assert codes(found) == ["evidence-missing", "gate-unmeasured"]
    assert [one.code for one in found.findings].count("gate-unmeasured") == 3


def test_a_check_of_the_lock_alone_says_that_it_proves_nothing() -> None:
    found = check(sound(), proven=False)

    assert (found.decision, found.evidence) == ("allow", ())
    assert [(one.code, one.severity) for one in found.findings] == [("static-only", "warning")]


def test_a_release_is_always_checked_in_full() -> None:
    held = members()
    lock = locked(held)

    found = check_release(lock, Drawer(held), {}, keyring=keyring(), pins=pins(), now=NOW)

    assert codes(found) == ["evidence-missing", "gate-unmeasured"]


def raises(case: Case) -> Iterable[Finding]:
    raise ZeroDivisionError("inside a rule")


def leaves(case: Case) -> Iterable[Finding]:
    sys.exit(0)


def raises_late(case: Case) -> Iterable[Finding]:
    yield from ()
    raise RecursionError("too deep")


def gives_none(case: Case) -> Any:
    return None


def gives_words(case: Case) -> Any:
    return ["all is well"]


def hangs(case: Case) -> Iterable[Finding]:
    time.sleep(60)
    return []


@pytest.mark.parametrize("broken", [raises, leaves, raises_late, gives_none, gives_words, hangs])
def test_a_rule_that_gives_no_answer_denies_and_the_others_are_still_heard(broken: Callable[..., Any]) -> None:
    table = (Rule("broken", broken), *RULES)

    found = check(sound(evidence=False), proven=True, rules=table, timeout_s=0.5 if broken is hangs else 30)

    assert codes(found) == ["rule-failed", "evidence-missing", "gate-unmeasured"]
    assert found.findings[0].subject == "rule broken"


def test_a_table_without_rules_of_evidence_proves_nothing() -> None:
    static = [rule for rule in RULES if not rule.of_evidence]

    assert codes(check(sound(), proven=True, rules=static)) == ["rule-failed"]
    assert codes(check(sound(), proven=True, rules=[])) == ["rule-failed"]
    assert codes(check(sound(), proven=False, rules=[])) == ["rule-failed"]


def test_more_findings_than_can_be_told_deny() -> None:
    warning = check(sound(), proven=False).findings[0]
    table = (Rule("talkative", lambda case: [warning] * 10_001), *RULES)

    found = check(sound(), proven=True, rules=table)

    assert codes(found) == ["rule-failed"]
    assert len(found.findings) == 10_001


def test_every_rule_is_named_once() -> None:
    names = [rule.name for rule in RULES]

    assert len(set(names)) == len(names)


def test_a_heap_of_evidence_is_refused() -> None:
    held = members()
    lock = locked(held)
    files = {f"{number}.json": b"" for number in range(MAX_EXHIBITS + 1)}

    with pytest.raises(Rejected) as refused:
        gather(lock, Drawer(held), files, keyring=keyring(), pins=pins(), now=NOW)

    assert refused.value.code == "evidence-invalid"


def test_the_verdict_names_the_lock_that_was_checked() -> None:
    held = members()
    lock = locked(held)

    assert verdict(lock, held, proven=False).lock == lock_digest(lock)
