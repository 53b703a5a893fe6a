"""The keyring: public keys with their roles, the one anchor of trust of whoever has it.

A key has one role. It counts from its creation until it expires, and not at all once it is revoked, whenever it
signed: a thief can write any date. A rotated key goes on counting until it expires, for what it has signed.

A keyring may also say whose signature a patch must carry, by the patch's name and the author's, which outlives keys;
and how many releasers it takes to change a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, model_validator
from securesystemslib.signer import SSlibKey

from compose.errors import Rejected
from compose.parse import make_record, read_record, strict_json
from compose.plain_file import read_bytes
from compose.records import Claim, Name, PlainText
from compose.trust.clock import Instant, instant, moment

KEYRING_FILE = "keyring.json"
MAX_KEYRING_BYTES = 1024 * 1024
MAX_THRESHOLD = 16
HEX_256 = "[0-9a-f]{64}"

Role = Literal["author", "evaluator", "releaser"]
ROLES: tuple[Role, ...] = get_args(Role)
KeyId = Annotated[str, Field(pattern=f"^{HEX_256}$", max_length=64)]


class Revocation(Claim):
    """When a key was revoked, and why."""

    at: Instant
    reason: Annotated[PlainText, Field(min_length=1)]


class PublicKey(Claim):
    """The public half of a key, and what it may sign.

    Attributes:
        name: Who holds it. The keys before and after a rotation have one name.
        role: What its signature is good for: patches (author), measurements (evaluator), releases (releaser).
        key_id: Digest of the public half, as securesystemslib and TUF compute it.
        public: The 32 bytes of the public half in hex.
        created: From when it counts.
        expires: Until when it counts.
        revoked: Set once it counts no more.
    """

    name: Name
    role: Role
    key_id: KeyId
    public: KeyId
    created: Instant
    expires: Instant
    revoked: Revocation | None = None

    @model_validator(mode="after")
    def _is_what_its_id_says(self) -> Self:
        if self.verifier.keyid != self.key_id:
            raise ValueError("key_id must be the digest of the public half")
        if not self.created < self.expires:  # instants of one width sort like the moments they name
            raise ValueError("a key must expire after it was created")
        return self

    @property
    def verifier(self) -> SSlibKey:
        """The key as securesystemslib and TUF use it."""
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public)))

    def in_force(self, now: datetime) -> bool:
        """Return whether the key counts at `now`."""
        return self.revoked is None and self._in_its_time(now)

    def check_in_force(self, now: datetime) -> None:
        """Return when the key counts at `now`.

        Raises:
            Rejected: `key-revoked` or `key-expired`.
        """
        subject = f"{self.role} key {self.name} ({self.key_id[:8]})"
        if self.revoked is not None:
            raise Rejected(
                "key-revoked",
                subject=subject,
                expected="a key that was not revoked",
                got=f"revoked at {self.revoked.at}: {self.revoked.reason}",
                fix="have it signed again with a key that counts",
            )
        if not self._in_its_time(now):
            raise Rejected(
                "key-expired",
                subject=subject,
                expected=f"a key that counts at {instant(now)}",
                got=f"valid from {self.created} until {self.expires}",
                fix="rotate the key and sign again; if the dates look right, set this machine's clock",
            )

    def _in_its_time(self, now: datetime) -> bool:
        return moment(self.created) <= now < moment(self.expires)


def _nobody(value: object) -> bool:
    """Return whether no patch is pinned: such a keyring keeps the bytes it had before any could be."""
    return value == {}


def _one(value: object) -> bool:
    """Return whether one releaser is enough, as it was before a keyring could say so."""
    return value == 1


Holders = Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]


class Keyring(Claim):
    """The public keys that a person trusts, each with its role.

    Attributes:
        schema_version: Layout of this record.
        keys: The keys.
        authors: Name of a patch -> the authors of whom one must have signed it. Other patches may go unsigned.
        threshold: How many releasers must have signed what a channel holds.
    """

    schema_version: Literal[1] = 1
    keys: Annotated[tuple[PublicKey, ...], Field(max_length=1024)] = ()
    authors: Annotated[Mapping[Name, Holders], Field(max_length=1024, exclude_if=_nobody)] = Field(default_factory=dict)
    threshold: Annotated[int, Field(ge=1, le=MAX_THRESHOLD, exclude_if=_one)] = 1

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> Self:
        ids = [key.key_id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("one key must not stand in the keyring twice, under other names or roles neither")
        return self

    @model_validator(mode="after")
    def _has_enough_releasers(self) -> Self:
        holders = {key.name for key in self.keys if key.role == "releaser"}
        if self.threshold > max(1, len(holders)):
            raise ValueError(f"a threshold of {self.threshold} needs as many releasers, and there are {len(holders)}")
        return self

    @model_validator(mode="after")
    def _authors_have_keys(self) -> Self:
        known = {key.name for key in self.keys if key.role == "author"}
        for patch, holders in self.authors.items():
            for holder in holders:
                if holder not in known:
                    raise ValueError(f"{holder!r}, who must sign {patch!r}, must have an author key in the keyring")
        return self

    def find(self, key_id: str) -> PublicKey | None:
        """Return the key of this id, or None."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def named(self, name: str) -> tuple[PublicKey, ...]:
        """Return the keys of one holder, the oldest first."""
        return tuple(key for key in self.keys if key.name == name)

    def of_role(self, role: Role, now: datetime) -> tuple[PublicKey, ...]:
        """Return the keys of a role that count at `now`."""
        return tuple(key for key in self.keys if key.role == role and key.in_force(now))


def read_keyring(folder: Path) -> Keyring:
    """Return the keyring of a folder.

    Raises:
        Rejected: `keyring-invalid`, when it is missing or malformed.
    """
    path = folder / KEYRING_FILE
    data = read_bytes(path, max_bytes=MAX_KEYRING_BYTES, code="keyring-invalid", subject=str(path))
    if data is None:
        raise Rejected(
            "keyring-invalid",
            subject=str(path),
            expected="the keyring with the public keys that you trust",
            got="no such file",
            fix="make keys with `compose keys new`, or put a keyring there that you got from people you trust",
        )
    return parse_keyring(data, subject=str(path))


def known_keys(folder: Path) -> Keyring:
    """Return the keyring of a folder; an empty one where there is none, and nobody is trusted.

    Raises:
        Rejected: `keyring-invalid`, when it is malformed.
    """
    return read_keyring(folder) if (folder / KEYRING_FILE).exists() else Keyring()


def parse_keyring(data: bytes, *, subject: str) -> Keyring:
    """Return the keyring that `data` spells.

    Raises:
        Rejected: `keyring-invalid`.
    """
    fields = strict_json(data, subject=subject, code="keyring-invalid", max_bytes=MAX_KEYRING_BYTES)
    return read_record(Keyring, fields, subject=subject, code="keyring-invalid")


def revised(keyring: Keyring, **changes: object) -> Keyring:
    """Return a keyring with some fields changed.

    Raises:
        Rejected: `keyring-invalid`, when it would contradict itself.
    """
    fields = {name: getattr(keyring, name) for name in Keyring.model_fields}
    return make_record(Keyring, {**fields, **changes}, subject="keyring", code="keyring-invalid")


def keyring_bytes(keyring: Keyring) -> bytes:
    """Return the bytes of a keyring file: JSON for people and `git diff`."""
    return (keyring.model_dump_json(indent=1) + "\n").encode()
