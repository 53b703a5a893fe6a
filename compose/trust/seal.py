"""Signed bytes: DSSE envelopes that are opened for one role and one kind of payload, or refused.

Source: https://github.com/secure-systems-lab/dsse, protocol 1.0.0. Stricter than the protocol where leniency would
give an attacker room:

- an envelope has one spelling, the one that `seal` writes: no other key, layout, base64 or order of signatures;
- every signature must be good and by a key of the role that counts now, not only as many as are needed;
- the kind of payload is named by whoever opens the envelope, so that a release is never read as evidence.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signature

from compose import digest
from compose.errors import Rejected
from compose.parse import read_record, strict_json
from compose.records import Claim
from compose.trust.keyring import KeyId, Keyring, Role

MAX_SEALED_BYTES = 16 * 1024 * 1024
MAX_SIGNATURES = 16
SIGNATURE_BYTES = 64

Base64 = Annotated[str, Field(max_length=MAX_SEALED_BYTES)]


class SignatureClaim(Claim):
    """One signature of an envelope: the id of its key, and 64 bytes in base64."""

    keyid: KeyId
    sig: Base64


class EnvelopeClaim(Claim):
    """What an envelope says before anyone has looked at its signatures."""

    payload: Base64
    payloadType: Annotated[str, Field(min_length=1, max_length=128)]
    signatures: Annotated[tuple[SignatureClaim, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]


class Opened(NamedTuple):
    """What was in an envelope whose signatures are good.

    Attributes:
        payload: The signed bytes.
        payload_type: Their kind.
        key_ids: Whose signatures they carry, sorted.
    """

    payload: bytes
    payload_type: str
    key_ids: tuple[str, ...]


def seal(payload: bytes, payload_type: str, *signers: CryptoSigner) -> bytes:
    """Return the envelope of `payload`, signed by every signer: one line of canonical JSON.

    Raises:
        Rejected: `seal-invalid`, when a reader would refuse it: too large, no signer, one twice, or too many.
    """
    envelope = Envelope(payload, payload_type, {})
    for signer in signers:
        envelope.sign(signer)
    data = _spelled(envelope)
    if len(envelope.signatures) != len(signers):
        raise _malformed("envelope", "one key twice among the signers")
    _read(data, "envelope")  # what is shipped has been read once, by the reader that will read it
    return data


def countersign(data: bytes, signer: CryptoSigner, *, subject: str = "envelope") -> bytes:
    """Return the envelope with one more signature; whether the others are good is for `open_seal` to say.

    Raises:
        Rejected: `seal-invalid`, when it is malformed or has a signature of this key.
    """
    envelope = _read(data, subject)
    if signer.public_key.keyid in envelope.signatures:
        raise _malformed(subject, f"a signature of key {signer.public_key.keyid[:8]} already")
    envelope.sign(signer)
    return _spelled(envelope)


def open_seal(
    data: bytes,
    keyring: Keyring,
    role: Role,
    now: datetime,
    threshold: int = 1,
    *,
    payload_type: str,
    subject: str = "envelope",
) -> Opened:
    """Return what is in an envelope, once every one of its signatures is good.

    Args:
        data: The envelope's bytes.
        keyring: The keys that are trusted.
        role: What the signers must be.
        now: The moment at which their keys must count.
        threshold: How many different keys must have signed.
        payload_type: The kind that the payload must be of.
        subject: What the envelope is called in errors.

    Raises:
        Rejected: `seal-invalid` for malformed bytes, `seal-type`, `key-unknown`, `key-role`, `key-revoked`,
            `key-expired`, `seal-forged` for a signature that does not belong to these bytes, `seal-threshold`.
        ValueError: The threshold is below 1.
    """
    if threshold < 1:
        raise ValueError(f"a threshold of {threshold} would trust unsigned bytes")
    envelope = _read(data, subject)
    if envelope.payload_type != payload_type:
        raise Rejected(
            "seal-type",
            subject=subject,
            expected=payload_type,
            got=ascii(envelope.payload_type),
            fix="look which file was given in the place of which",
        )
    for signature in envelope.signatures.values():
        _check_signature(signature, envelope.pae(), keyring, role, now, subject)
    if len(envelope.signatures) < threshold:
        raise Rejected(
            "seal-threshold",
            subject=subject,
            expected=f"{threshold} different {role} keys",
            got=f"{len(envelope.signatures)}",
            fix="have it countersigned",
        )
    return Opened(envelope.payload, envelope.payload_type, tuple(sorted(envelope.signatures)))


def _check_signature(
    signature: Signature, signed: bytes, keyring: Keyring, role: Role, now: datetime, subject: str
) -> None:
    """Return when a signature is good and its key is of the role and counts at `now`."""
    key = keyring.find(signature.keyid)
    if key is None:
        raise Rejected(
            "key-unknown",
            subject=subject,
            expected=f"a {role} key of the keyring",
            got=f"key {signature.keyid[:8]}",
            fix="get the signer's keyring from people you trust and `compose keys import` it",
        )
    if key.role != role:
        raise Rejected(
            "key-role",
            subject=subject,
            expected=f"a signature by a key with the role {role}",
            got=f"{key.role} key {key.name} ({key.key_id[:8]})",
            fix=f"have it signed with a key of the role {role}",
        )
    key.check_in_force(now)
    try:
        key.verifier.verify_signature(signature, signed)
    except UnverifiedSignatureError as error:
        raise Rejected(
            "seal-forged",
            subject=subject,
            expected=f"the signature that {key.name} made for these bytes",
            got="one that does not belong to them: payload, type or signature were changed",
            fix="get the file again from whoever signed it",
        ) from error


def _read(data: bytes, subject: str) -> Envelope:
    """Return the envelope that `data` spells, refusing every other spelling of the same envelope."""
    fields = strict_json(data, subject=subject, code="seal-invalid", max_bytes=MAX_SEALED_BYTES)
    claim = read_record(EnvelopeClaim, fields, subject=subject, code="seal-invalid")
    signatures = {}
    for each in claim.signatures:
        sig = _decoded(each.sig, subject)
        if each.keyid in signatures or len(sig) != SIGNATURE_BYTES:
            raise _malformed(subject, f"key {each.keyid[:8]} twice, or a signature of {len(sig)} bytes")
        signatures[each.keyid] = Signature(each.keyid, sig.hex())
    envelope = Envelope(_decoded(claim.payload, subject), claim.payloadType, signatures)
    if _spelled(envelope) != data:
        raise _malformed(subject, "another spelling of it")
    return envelope


def _spelled(envelope: Envelope) -> bytes:
    """Return the one spelling of an envelope: canonical JSON, signatures sorted by key, a final newline."""
    fields = envelope.to_dict()
    fields["signatures"] = sorted(fields["signatures"], key=lambda signature: str(signature["keyid"]))
    return digest.canonical_json(fields) + b"\n"


def _decoded(text: str, subject: str) -> bytes:
    """Return the bytes of a base64 text."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(subject, str(error)) from error


def _malformed(subject: str, got: str) -> Rejected:
    """Return the error about bytes that are no envelope of ours."""
    return Rejected(
        "seal-invalid",
        subject=subject,
        expected=f"a DSSE envelope as compose writes it: one line, 1 to {MAX_SIGNATURES} signatures by different keys",
        got=got,
        fix="get the file again from whoever signed it, byte for byte",
    )
