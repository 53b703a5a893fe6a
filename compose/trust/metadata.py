"""The TUF metadata of a channel, as its writers read and sign it: root, targets, snapshot, timestamp.

Source: https://theupdateframework.github.io/specification/latest/. Every role is signed by one releaser. The root names
the releasers of the keyring that count, and follows it: a new root is signed by a key that the old one names too, so
that whoever trusts the old one can follow. Readers trust the keyring and these rules (compose.trust.client).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from compose import durable
from compose.errors import Rejected
from compose.plain_file import read_bytes
from compose.trust.keyring import Keyring

METADATA_FOLDER = "metadata"
TARGETS_FOLDER = "targets"
TIMESTAMP_FILE = "timestamp.json"
ROOT_DAYS = 365
TIMESTAMP_DAYS = 30
"""How long a reader believes a channel that nobody signs any more: the window of a freeze attack."""
RENEW_ROOT_DAYS = 180
MAX_METADATA_BYTES = 5_000_000
HASH = "sha256"

Signed = TypeVar("Signed", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class Writer:
    """Who writes to a channel.

    Attributes:
        keyring: The keys that are trusted; its releasers become the channel's.
        signer: The releaser who signs, whose key counts now.
        former: Signers of other releaser keys that are at hand, for a channel whose root does not know `signer` yet.
    """

    keyring: Keyring
    signer: CryptoSigner
    former: Sequence[CryptoSigner] = ()


@dataclass(frozen=True)
class Signatures:
    """The verified metadata of a channel.

    Attributes:
        root: Its newest root.
        targets: Every file by path.
        version: Version of targets, snapshot and timestamp alike.
    """

    root: Metadata[Root]
    targets: Mapping[str, TargetFile]
    version: int


def vouched(root: Metadata[Root], keyring: Keyring, now: datetime | None) -> bool:
    """Return whether a releaser of the keyring who counts at `now` stands in a root and has signed it.

    Args:
        root: The root, of unknown origin.
        keyring: The keys that are trusted.
        now: The moment; None takes releasers whose keys count no more, as a hand-over to others needs.
    """
    keys = keyring.of_role("releaser", now) if now else [key for key in keyring.keys if key.role == "releaser"]
    for key in keys:
        signature = root.signatures.get(key.key_id)
        if signature is None or key.key_id not in root.signed.roles[Root.type].keyids:
            continue
        try:
            key.verifier.verify_signature(signature, root.signed_bytes)
        except UnverifiedSignatureError:
            continue
        return True
    return False


def read_signed(channel: Path, keyring: Keyring) -> Signatures | None:
    """Return a channel's verified metadata, or None for a folder in which nothing has been released.

    What has expired is read too: renewing it is what a writer may be about to do.

    Raises:
        Rejected: `channel-keys` when no releaser of the keyring has signed the root; `channel-invalid` for files that
            are missing, malformed, not signed or do not fit each other.
    """
    folder = channel / METADATA_FOLDER
    if not (folder / TIMESTAMP_FILE).exists():
        # A first release that was killed leaves files of version 1; a later one has replaced a timestamp.
        if list(folder.glob("2.*.json")):
            raise _invalid(
                channel, f"no {TIMESTAMP_FILE} beside files of version 2: starting anew would lose every yank"
            )
        return None
    roots = _roots(folder, keyring)
    try:
        failed: RepositoryError | None = None
        for root in reversed(roots):
            # A crash between a new root and its timestamp leaves a timestamp that only the root before can verify.
            try:
                timestamp = _verified(folder / TIMESTAMP_FILE, Timestamp, root)
            except RepositoryError as error:
                failed = error
                continue
            return _below(folder, timestamp, root, newest=roots[-1])
        raise failed or RepositoryError("it has no root")
    except (RepositoryError, ValueError) as error:
        raise _invalid(channel, str(error)) from error


def write_signed(
    channel: Path, before: Signatures | None, targets: Mapping[str, TargetFile], writer: Writer, now: datetime
) -> None:
    """Sign the channel's next version with these targets, and make it the one that readers see.

    The timestamp is written last: until then, readers see the version before.

    Raises:
        Rejected: `channel-keys`, when none of the writer's keys stands in the channel's root; `disk-full` or
            `read-only`.
    """
    folder, version = channel / METADATA_FOLDER, (before.version if before else 0) + 1
    root = _next_root(before.root if before else None, writer, now, str(channel))
    late, soon = now.replace(microsecond=0) + timedelta(days=ROOT_DAYS), now + timedelta(days=TIMESTAMP_DAYS)
    signed_targets = _signed(Targets(version=version, expires=late, targets=dict(targets)), writer.signer)
    targets_meta = MetaFile.from_data(version, signed_targets, [HASH])
    snapshot = _signed(Snapshot(version=version, expires=late, meta={"targets.json": targets_meta}), writer.signer)
    snapshot_meta = MetaFile.from_data(version, snapshot, [HASH])
    timestamp = Timestamp(version=version, expires=soon.replace(microsecond=0), snapshot_meta=snapshot_meta)
    durable.write_bytes(folder / f"{version}.targets.json", signed_targets)
    durable.write_bytes(folder / f"{version}.snapshot.json", snapshot)
    if root is not None:
        durable.write_bytes(folder / f"{root.signed.version}.root.json", _bytes(root))
    durable.write_bytes(folder / TIMESTAMP_FILE, _signed(timestamp, writer.signer))


def _roots(folder: Path, keyring: Keyring) -> list[Metadata[Root]]:
    """Return the newest root and the one before it, the newest last, each signed by a releaser of the keyring."""
    versions = sorted(int(path.name.split(".")[0]) for path in folder.glob("[0-9]*.root.json"))[-2:]
    roots = []
    for version in versions:
        path = folder / f"{version}.root.json"
        try:
            root = Metadata[Root].from_bytes(_read(path))
            root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        except (RepositoryError, ValueError) as error:
            raise _invalid(folder.parent, f"{path.name}: {error}") from error
        if vouched(root, keyring, None):
            roots.append(root)
    if not roots or roots[-1].signed.version != versions[-1]:
        raise Rejected(
            "channel-keys",
            subject=str(folder.parent),
            expected="a root that a releaser of the keyring has signed",
            got="one of other people, or none",
            fix="use the folder of keys that the channel was made with, or release to another folder",
        )
    return roots


def _below(folder: Path, timestamp: Metadata[Timestamp], root: Metadata[Root], *, newest: Metadata[Root]) -> Signatures:
    """Return what a verified timestamp leads to."""
    meta = timestamp.signed.snapshot_meta
    snapshot = _verified(folder / f"{meta.version}.snapshot.json", Snapshot, root, meta)
    of_targets = snapshot.signed.meta.get("targets.json")
    if of_targets is None:
        raise RepositoryError("its snapshot names no targets")
    targets = _verified(folder / f"{of_targets.version}.targets.json", Targets, root, of_targets)
    return Signatures(newest, targets.signed.targets, timestamp.signed.version)


def _verified(path: Path, role: type[Signed], root: Metadata[Root], meta: MetaFile | None = None) -> Metadata[Signed]:
    """Return a metadata file that its role has signed and that is the one its parent means."""
    data = _read(path)
    if meta is not None:
        meta.verify_length_and_hashes(data)
    found: Metadata[Signed] = Metadata.from_bytes(data)
    if not isinstance(found.signed, role):
        raise RepositoryError(f"{path.name} holds {found.signed.type} metadata")
    root.signed.verify_delegate(role.type, found.signed_bytes, found.signatures)
    if meta is not None and found.signed.version != meta.version:
        raise RepositoryError(f"{path.name} is of version {found.signed.version}, not {meta.version}")
    return found


def _next_root(before: Metadata[Root] | None, writer: Writer, now: datetime, channel: str) -> Metadata[Root] | None:
    """Return the root that must follow, or None when the one that is there will do."""
    keys = {key.key_id: key.verifier for key in writer.keyring.of_role("releaser", now)}
    if before is not None:
        known, remaining = before.signed.roles[Root.type].keyids, before.signed.expires - now
        if set(known) == set(keys) and remaining > timedelta(days=RENEW_ROOT_DAYS):
            return None
    version = 1 if before is None else before.signed.version + 1
    expires = now.replace(microsecond=0) + timedelta(days=ROOT_DAYS)
    root = Root(version=version, expires=expires, consistent_snapshot=True)
    for verifier in keys.values():
        for role in TOP_LEVEL_ROLE_NAMES:
            root.add_key(verifier, role)
    signers = {writer.signer.public_key.keyid: writer.signer}
    if before is not None and writer.signer.public_key.keyid not in known:
        handing_over = {each.public_key.keyid: each for each in writer.former if each.public_key.keyid in known}
        if not handing_over:
            raise Rejected(
                "channel-keys",
                subject=channel,
                expected=f"the private half of a key that the channel knows: {', '.join(k[:8] for k in known)}",
                got=f"key {writer.signer.public_key.keyid[:8]}, which it does not know",
                fix="have one of its releasers renew the channel with a keyring that holds your key",
            )
        signers |= handing_over
    metadata = Metadata(root)
    for signer in signers.values():
        metadata.sign(signer, append=True)
    return metadata


def _signed(signed: Signed, signer: CryptoSigner) -> bytes:
    """Return the bytes of one role's metadata, signed."""
    metadata = Metadata(signed)
    metadata.sign(signer)
    return _bytes(metadata)


def _bytes(metadata: Metadata[Signed]) -> bytes:
    return metadata.to_bytes(JSONSerializer(compact=False))


def _read(path: Path) -> bytes:
    """Return the bytes of a metadata file."""
    data = read_bytes(path, max_bytes=MAX_METADATA_BYTES, code="channel-invalid", subject=str(path))
    if data is None:
        raise RepositoryError(f"there is no {path.name}")
    return data


def _invalid(channel: Path, got: str) -> Rejected:
    """Return the error about a channel's folder that a writer cannot go on from."""
    return Rejected(
        "channel-invalid",
        subject=str(channel),
        expected="a channel whose metadata are whole, signed and fit each other",
        got=got,
        fix="restore the folder from a copy that readers can use, the newest that there is",
    )
