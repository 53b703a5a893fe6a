"""No damaged byte of evidence changes what it proves: it is refused, or it says what it said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.errors import Rejected
from compose.trust.check import check, gather
from compose.trust.claims import Verdict
from compose.trust.evidence import read_statement, statement_bytes, statement_of
from tests.properties.mutations import EXAMPLES, mutated
from tests.unit.trust.cases import NOW, Drawer, keyring, locked, measurement, members, pins, sealed

PROMPTS = 60
HELD = members()
LOCK = locked(HELD)
FOUND = measurement(LOCK, n=PROMPTS)
PROOF = sealed(LOCK, FOUND)
STATEMENT = statement_bytes(statement_of("sha256:" + "a" * 64, "both 1.0.0", {"a": True}, FOUND))


def verdict(evidence: bytes) -> Verdict:
    case = gather(LOCK, Drawer(HELD), {"e.json": evidence}, keyring=keyring(), pins=pins(PROMPTS), now=NOW)
    return check(case, proven=True)


def test_the_evidence_itself_allows() -> None:
    assert verdict(PROOF).decision == "allow"


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_mutated_evidence_allows_nothing(data: st.DataObject) -> None:
    evidence = mutated(data, PROOF)
    if evidence != PROOF:
        assert verdict(evidence).decision == "deny"


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_statement_is_refused_or_spelled_as_it_is_read(data: st.DataObject) -> None:
    text = mutated(data, STATEMENT)
    try:
        statement = read_statement(text, subject="e.json")
    except Rejected as error:
        assert error.code == "evidence-invalid"
        return
    assert statement_bytes(statement) == text


def test_a_statement_is_read_back() -> None:
    with pytest.raises(Rejected):
        read_statement(STATEMENT + b" ", subject="e.json")
