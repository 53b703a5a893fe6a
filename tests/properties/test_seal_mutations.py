"""No damaged byte gets past an envelope or a keyring: a mutated one is refused, or it is the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.errors import CODES, Rejected
from compose.trust.keyring import Keyring, keyring_bytes, parse_keyring, read_keyring
from compose.trust.keys import load_signer, new_key
from compose.trust.seal import open_seal, seal
from tests.properties.mutations import EXAMPLES, mutated

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KIND = "application/vnd.compose.test+json"

Sealed = tuple[Keyring, bytes]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A keyring with two evaluators and an envelope that both have signed."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        new_key(folder, name, "evaluator", now=NOW)
    signers = [load_signer(folder, name, "evaluator", now=NOW) for name in ("one", "two")]
    return read_keyring(folder), seal(b'{"rate": 0.0125, "n": 400}', KIND, *signers)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_envelope_is_refused(sealed: Sealed, data: st.DataObject) -> None:
    keyring, original = sealed
    damaged = mutated(data, original)
    if damaged == original:
        return
    with pytest.raises(Rejected) as refused:
        open_seal(damaged, keyring, "evaluator", NOW, payload_type=KIND)
    assert refused.value.code in CODES


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_keyring_is_refused_or_trusts_no_other_key(sealed: Sealed, data: st.DataObject) -> None:
    keyring, _ = sealed
    try:
        damaged = parse_keyring(mutated(data, keyring_bytes(keyring)), subject="ring")
    except Rejected as refused:
        assert refused.code == "keyring-invalid"
        return
    # A keyring is not signed: dates may change under a digit. An id and its key cannot.
    assert {(key.key_id, key.public) for key in damaged.keys} <= {(key.key_id, key.public) for key in keyring.keys}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_refused(sealed: Sealed, data: bytes) -> None:
    with pytest.raises(Rejected):
        open_seal(data, sealed[0], "evaluator", NOW, payload_type=KIND)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_every_payload_survives_its_envelope(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, kind: str
) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "one-key"
    if not folder.exists():
        new_key(folder, "one", "evaluator", now=NOW)
    data = seal(payload, kind, load_signer(folder, "one", "evaluator", now=NOW))

    assert open_seal(data, read_keyring(folder), "evaluator", NOW, payload_type=kind).payload == payload
