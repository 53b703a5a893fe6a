"""Envelopes: who signed what, and every way in which one is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from compose import digest
from compose.errors import Rejected
from compose.trust.keyring import read_keyring
from compose.trust.keys import load_signer, new_key, revoke_key, rotate_key
from compose.trust.seal import MAX_SEALED_BYTES, Opened, countersign, open_seal, seal
from tests.unit.trust.conftest import SignerOf

KIND = "application/vnd.compose.test+json"
PAYLOAD = b'{"n": 60}'


@pytest.fixture
def sealed(signer_of: SignerOf) -> bytes:
    """A payload that the evaluator signed."""
    return seal(PAYLOAD, KIND, signer_of("evaluator"))


def opened(keys: Path, data: bytes, now: datetime, threshold: int = 1) -> Opened:
    return open_seal(data, read_keyring(keys), "evaluator", now, threshold, payload_type=KIND)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def spelled(fields: dict[str, Any]) -> bytes:
    """Return fields as the writer lays them out, so that only what they say is wrong."""
    return digest.canonical_json(fields) + b"\n"


def test_what_was_sealed_is_opened(keys: Path, sealed: bytes, signer_of: SignerOf, now: datetime) -> None:
    key_id = signer_of("evaluator").public_key.keyid

    assert opened(keys, sealed, now) == Opened(PAYLOAD, KIND, (key_id,))


def test_the_envelope_is_dsse(keys: Path, sealed: bytes, signer_of: SignerOf) -> None:
    key = signer_of("evaluator").public_key
    fields = json.loads(sealed)

    # Pre-authentication encoding by hand: "DSSEv1 LEN(type) type LEN(payload) payload".
    pae = b"DSSEv1 33 application/vnd.compose.test+json 9 " + PAYLOAD
    assert base64.b64decode(fields["payload"]) == PAYLOAD
    assert Envelope.from_dict(fields).pae() == pae
    assert len(Envelope.from_dict(json.loads(sealed)).verify([key], 1)) == 1


def test_an_edited_payload_or_type_is_refused(keys: Path, sealed: bytes, now: datetime) -> None:
    fields = json.loads(sealed)
    payload = {**fields, "payload": base64.b64encode(b'{"n": 61}').decode()}
    kind = {**fields, "payloadType": "application/vnd.compose.other+json"}

    assert code_of(lambda: opened(keys, spelled(payload), now)) == "seal-forged"
    assert code_of(lambda: opened(keys, spelled(kind), now)) == "seal-type"
    ring, asked = read_keyring(keys), kind["payloadType"]  # nor does a type pass that was not signed
    assert code_of(lambda: open_seal(spelled(kind), ring, "evaluator", now, payload_type=asked)) == "seal-forged"


def test_a_signature_of_another_payload_is_refused(
    keys: Path, sealed: bytes, signer_of: SignerOf, now: datetime
) -> None:
    other = json.loads(seal(b"other", KIND, signer_of("evaluator")))

    assert code_of(lambda: opened(keys, spelled({**json.loads(sealed), "signatures": other["signatures"]}), now)) == (
        "seal-forged"
    )


@pytest.mark.parametrize("role", ["author", "releaser"])
def test_a_key_of_another_role_does_not_count(keys: Path, signer_of: SignerOf, now: datetime, role: Any) -> None:
    assert code_of(lambda: opened(keys, seal(PAYLOAD, KIND, signer_of(role)), now)) == "key-role"


def test_a_key_that_nobody_trusts_does_not_count(keys: Path, now: datetime) -> None:
    stranger = CryptoSigner.generate_ed25519()

    assert code_of(lambda: opened(keys, seal(PAYLOAD, KIND, stranger), now)) == "key-unknown"


def test_a_good_signature_does_not_carry_a_bad_one(keys: Path, sealed: bytes, now: datetime) -> None:
    both = countersign(sealed, CryptoSigner.generate_ed25519())

    assert code_of(lambda: opened(keys, both, now)) == "key-unknown"


def test_a_stranger_cannot_sign_under_a_trusted_id(keys: Path, signer_of: SignerOf, now: datetime) -> None:
    disguised = CryptoSigner.generate_ed25519(keyid=signer_of("evaluator").public_key.keyid)

    assert code_of(lambda: opened(keys, seal(PAYLOAD, KIND, disguised), now)) == "seal-forged"


def test_a_key_counts_from_its_creation_until_it_expires(keys: Path, sealed: bytes, now: datetime) -> None:
    second = timedelta(seconds=1)

    assert opened(keys, sealed, now + timedelta(days=100) - second).payload == PAYLOAD
    assert code_of(lambda: opened(keys, sealed, now + timedelta(days=100))) == "key-expired"
    assert code_of(lambda: opened(keys, sealed, now - second)) == "key-expired"


def test_a_revoked_key_does_not_count_for_what_it_signed_before(keys: Path, sealed: bytes, now: datetime) -> None:
    revoke_key(keys, "evaluator", now=now + timedelta(days=5), reason="stolen")

    assert code_of(lambda: opened(keys, sealed, now)) == "key-revoked"


def test_a_rotated_key_counts_for_what_it_signed_before(keys: Path, sealed: bytes, now: datetime) -> None:
    rotate_key(keys, "evaluator", now=now + timedelta(days=5))

    assert opened(keys, sealed, now + timedelta(days=6)).payload == PAYLOAD


def test_a_threshold_is_met_by_different_keys_only(keys: Path, sealed: bytes, now: datetime) -> None:
    assert code_of(lambda: opened(keys, sealed, now, threshold=2)) == "seal-threshold"

    new_key(keys, "second", "evaluator", now=now)
    second = load_signer(keys, "second", "evaluator", now=now)
    both = countersign(sealed, second)
    assert len(opened(keys, both, now, threshold=2).key_ids) == 2
    assert both == seal(PAYLOAD, KIND, second, load_signer(keys, "evaluator", "evaluator", now=now))
    assert code_of(lambda: opened(keys, both, now, threshold=3)) == "seal-threshold"


def test_a_threshold_of_nobody_is_a_mistake(keys: Path, sealed: bytes, now: datetime) -> None:
    with pytest.raises(ValueError, match="unsigned"):
        opened(keys, sealed, now, threshold=0)


def test_one_key_cannot_sign_twice(keys: Path, sealed: bytes, signer_of: SignerOf, now: datetime) -> None:
    fields = json.loads(sealed)
    doubled = {**fields, "signatures": fields["signatures"] * 2}

    assert code_of(lambda: opened(keys, spelled(doubled), now, threshold=2)) == "seal-invalid"
    assert code_of(lambda: countersign(sealed, signer_of("evaluator"))) == "seal-invalid"
    assert code_of(lambda: seal(PAYLOAD, KIND, signer_of("evaluator"), signer_of("evaluator"))) == "seal-invalid"


@pytest.mark.parametrize(
    "change",
    [
        lambda f: {**f, "signatures": []},
        lambda f: {name: value for name, value in f.items() if name != "signatures"},
        lambda f: {name: value for name, value in f.items() if name != "payload"},
        lambda f: {**f, "comment": "trust me"},
        lambda f: {**f, "signatures": [{**f["signatures"][0], "cert": ""}]},
        lambda f: {**f, "signatures": [{**f["signatures"][0], "sig": ""}]},
        lambda f: {**f, "signatures": [{**f["signatures"][0], "sig": f["signatures"][0]["sig"] + "\n"}]},
        lambda f: {**f, "signatures": [{**f["signatures"][0], "sig": f["signatures"][0]["sig"].rstrip("=")}]},
        lambda f: {**f, "signatures": [{**f["signatures"][0], "keyid": "alice"}]},
        lambda f: {**f, "signatures": {}},
        lambda f: {**f, "payload": f["payload"] + " "},
        lambda f: {**f, "payload": "é"},
        lambda f: {**f, "payload": None},
        lambda f: {**f, "payloadType": 1},
        lambda f: {**f, "payloadType": ""},
    ],
)
def test_an_envelope_of_another_shape_is_refused(
    keys: Path, sealed: bytes, now: datetime, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    assert code_of(lambda: opened(keys, spelled(change(json.loads(sealed))), now)) == "seal-invalid"


def test_another_spelling_of_a_good_envelope_is_refused(keys: Path, now: datetime, signer_of: SignerOf) -> None:
    # A payload whose base64 has unused bits and both letters that the URL alphabet replaces.
    data = seal(b"\xfb\xef\xff\xfe", KIND, signer_of("evaluator"))
    text, payload = data.decode(), "++///g=="
    others = [
        text.rstrip("\n"),
        text + "\n",
        " " + text,
        json.dumps(json.loads(data), indent=1) + "\n",
        text.replace(payload, "--___g=="),
        text.replace(payload, "++///h=="),
        text.replace("payloadType", "payload\\u0054ype"),
    ]

    for other in others:
        assert other != text
        assert code_of(lambda other=other: opened(keys, other.encode(), now)) == "seal-invalid"  # type: ignore[misc]
    assert opened(keys, data, now).payload == b"\xfb\xef\xff\xfe"


def test_what_no_reader_would_take_is_not_sealed(signer_of: SignerOf) -> None:
    assert code_of(lambda: seal(b"x" * MAX_SEALED_BYTES, KIND, signer_of("evaluator"))) == "seal-invalid"
    assert code_of(lambda: seal(b"x", KIND)) == "seal-invalid"
    assert code_of(lambda: seal(b"x", "", signer_of("evaluator"))) == "seal-invalid"
