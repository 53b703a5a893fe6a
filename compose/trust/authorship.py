"""An author's signature on a patch: sealed, in signature.json beside the card, wherever the patch goes.

What is signed are the digests of the matrix and of the card's bytes, from which every other byte of a patch follows. So
a signature says nothing of any other card of the same matrix, and a lock pins what was signed without naming it: a
patch may be signed, or signed anew, after it was locked and measured.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from securesystemslib.signer import CryptoSigner

from compose.errors import Rejected
from compose.records import Claim, Digest, Name, Version
from compose.trust.claims import LockedPatch, canonical
from compose.trust.keyring import Keyring, PublicKey
from compose.trust.seal import open_seal, seal

PATCH_TYPE = "application/vnd.compose.patch+json"


class SignedPatch(Claim):
    """What an author signs of a patch.

    Attributes:
        schema_version: Layout of this record.
        name: Its name.
        version: Its version.
        digest: Prefix digest: of its matrix.
        card: Digest of the bytes of its patch.json.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    digest: Digest
    card: Digest


def signature_of(patch: LockedPatch, signer: CryptoSigner) -> bytes:
    """Return the bytes of signature.json: the same whenever this author signs this patch."""
    return seal(_signed_bytes(patch), PATCH_TYPE, signer)


def authors_of(
    data: bytes, patch: LockedPatch, keyring: Keyring, now: datetime, *, subject: str
) -> tuple[PublicKey, ...]:
    """Return the keys of the authors who have signed a patch, each found to count at `now`.

    Args:
        data: The bytes of signature.json.
        patch: The patch that it must be about.
        keyring: The keys that are trusted.
        now: The moment at which they must count.
        subject: What the file is called in errors.

    Raises:
        Rejected: What `open_seal` refuses; `signature-other` when another patch was signed.
    """
    opened = open_seal(data, keyring, "author", now, payload_type=PATCH_TYPE, subject=subject)
    expected = _signed_bytes(patch)
    if opened.payload != expected:
        raise Rejected(
            "signature-other",
            subject=subject,
            expected=f"a signature of {expected.decode()}",
            got=ascii(opened.payload)[2:-1][:1000],
            fix="get the patch again from its author, or have this one signed: its name, card or matrix is another",
        )
    return tuple(key for key in keyring.keys if key.key_id in opened.key_ids)


def _signed_bytes(patch: LockedPatch) -> bytes:
    """Return the bytes that are signed."""
    return canonical(SignedPatch(name=patch.name, version=patch.version, digest=patch.digest, card=patch.card))
