"""The TUF metadata of a channel, as its writers read and sign it: root, targets, snapshot, timestamp.

Source: https://theupdateframework.github.io/specification/latest/. The root names the releasers of the keyring that
count, and follows it: a new root is signed by keys that the old one names too, so that whoever trusts the old one can
follow. Readers trust the keyring and these rules (compose.trust.client).

Root and targets need as many releasers as the keyring's threshold says; what lacks some waits (compose.trust.proposal).
Snapshot and timestamp need one, who can renew them every month: alone, a releaser can hold newcomers back to targets
that enough releasers signed once, or let readers refuse the channel, and can put nothing else before anyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

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

from compose import durable
from compose.errors import Rejected
from compose.trust.keyring import Keyring, PublicKey
from compose.trust.proposal import Proposal, Signed, drop, metadata_bytes, proposal_refused, read_metadata, stage

METADATA_FOLDER = "metadata"
TARGETS_FOLDER = "targets"
TIMESTAMP_FILE = "timestamp.json"
ROOT_DAYS = 365
TIMESTAMP_DAYS = 30
"""How long a reader believes a channel that nobody signs any more: the window of a freeze attack."""
RENEW_ROOT_DAYS = 180
HASH = "sha256"


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
        signed_targets: Its targets.
        of_targets: What the snapshot says of them.
        version: Version of snapshot and timestamp alike; targets are of this one, or older.
    """

    root: Metadata[Root]
    signed_targets: Metadata[Targets]
    of_targets: MetaFile
    version: int

    @property
    def targets(self) -> Mapping[str, TargetFile]:
        """Every file by path."""
        return self.signed_targets.signed.targets


def vouched(root: Metadata[Root], keyring: Keyring, now: datetime | None) -> bool:
    """Return whether enough releasers of the keyring who count at `now` stand in a root and have signed it.

    A root that lets fewer of them change the channel than the keyring asks for is none, whoever signed it.

    Args:
        root: The root, of unknown origin.
        keyring: The keys that are trusted.
        now: The moment; None takes one releaser, whose key may count no more, as a hand-over to others needs.
    """
    if now is None:
        return any(_has_signed(key, root) for key in keyring.keys if key.role == "releaser")
    roles = root.signed.roles
    if min(roles[Root.type].threshold, roles[Targets.type].threshold) < keyring.threshold:
        return False
    holders = {key.name for key in keyring.of_role("releaser", now) if _has_signed(key, root)}
    return len(holders) >= keyring.threshold


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
) -> bool:
    """Return whether readers see the channel's next version, signed and with these targets; else it waits for others.

    Raises:
        Rejected: `channel-keys`, when none of the writer's keys stands in the channel's root, or the keyring asks for
            more releasers than count; `disk-full` or `read-only`.
    """
    root = _next_root(before.root if before else None, writer, now, str(channel))
    late = now.replace(microsecond=0) + timedelta(days=ROOT_DAYS)
    signed = Metadata(Targets(version=(before.version if before else 0) + 1, expires=late, targets=dict(targets)))
    signed.sign(writer.signer)
    return put_forward(channel, before, Proposal(signed, root), writer.signer, now)


def put_forward(
    channel: Path, before: Signatures | None, proposal: Proposal, signer: CryptoSigner, now: datetime
) -> bool:
    """Return whether a proposal is what readers see from now on; one that lacks signatures waits for them.

    The timestamp is written last: until then, readers see the version before.

    Raises:
        Rejected: `disk-full` or `read-only`.
    """
    if proposal.lacking(before.root if before else None):
        stage(channel, proposal)
        return False
    version, data = proposal.targets.signed.version, metadata_bytes(proposal.targets)
    durable.write_bytes(channel / METADATA_FOLDER / f"{version}.targets.json", data)
    _write_timestamp(channel, before, MetaFile.from_data(version, data, [HASH]), proposal.root, signer, now)
    drop(channel)
    return True


def renew_signed(channel: Path, before: Signatures, writer: Writer, now: datetime) -> bool:
    """Return whether readers see the renewal: one signature does it while root and targets need not be made anew.

    Raises:
        Rejected: As `write_signed`.
    """
    root = _next_root(before.root, writer, now, str(channel))
    if root is None and before.signed_targets.signed.expires - now > timedelta(days=RENEW_ROOT_DAYS):
        _write_timestamp(channel, before, before.of_targets, None, writer.signer, now)
        return True
    return write_signed(channel, before, before.targets, writer, now)


def check_signable(
    channel: Path, before: Signatures | None, proposal: Proposal, keyring: Keyring, now: datetime
) -> None:
    """Return when a proposal has the root that this keyring asks for, and dates and numbers that can be.

    Raises:
        Rejected: `proposal-refused`.
    """
    targets, limit = proposal.targets.signed, now + timedelta(days=ROOT_DAYS)
    lowest, highest = (before.signed_targets.signed.version, before.version + 1) if before else (0, 1)
    if not lowest < targets.version <= highest or not now < targets.expires <= limit or targets.delegations:
        got = f"version {targets.version}, until {targets.expires}"
        raise proposal_refused(channel, f"targets of version {highest} that expire within {ROOT_DAYS} days", got)
    ruling = proposal.root or (before.root if before else None)
    keys = _wanted(keyring, now)
    if ruling is None or not _names(ruling.signed, keys, keyring.threshold):
        raise proposal_refused(
            channel,
            f"the releasers of your keyring: {', '.join(key.name for key in keys.values())}, "
            f"{keyring.threshold} of whom must sign",
            "a root with other keys, or another threshold: exchange keyrings by `compose keys export` and `import`",
        )
    root, following = proposal.root, before.root.signed.version + 1 if before else 1
    if root is not None and (
        root.signed.version != following
        or not now < root.signed.expires <= limit
        or not root.signed.consistent_snapshot
    ):
        got = f"version {root.signed.version}, until {root.signed.expires}"
        raise proposal_refused(channel, f"a root of version {following} that expires within {ROOT_DAYS} days", got)


def cosigned(channel: Path, before: Signatures | None, proposal: Proposal, writer: Writer, now: datetime) -> Proposal:
    """Return a proposal with the writer's signatures too.

    Raises:
        Rejected: `proposal-refused` when they are on it already; `channel-keys`.
    """
    if writer.signer.public_key.keyid in proposal.targets.signatures:
        raise proposal_refused(channel, "a change that you have not signed yet", "one that carries your signature")
    _signing_keys(writer, now, str(channel))
    proposal.targets.sign(writer.signer, append=True)
    if proposal.root is not None:
        _sign_root(proposal.root, before.root if before else None, writer, str(channel))
    return proposal


def _write_timestamp(
    channel: Path,
    before: Signatures | None,
    of_targets: MetaFile,
    root: Metadata[Root] | None,
    signer: CryptoSigner,
    now: datetime,
) -> None:
    """Write the channel's next snapshot, then a new root, then the timestamp that leads to both."""
    folder, version = channel / METADATA_FOLDER, (before.version if before else 0) + 1
    late, soon = now.replace(microsecond=0) + timedelta(days=ROOT_DAYS), now + timedelta(days=TIMESTAMP_DAYS)
    snapshot = _signed(Snapshot(version=version, expires=late, meta={"targets.json": of_targets}), signer)
    snapshot_meta = MetaFile.from_data(version, snapshot, [HASH])
    timestamp = Timestamp(version=version, expires=soon.replace(microsecond=0), snapshot_meta=snapshot_meta)
    durable.write_bytes(folder / f"{version}.snapshot.json", snapshot)
    if root is not None:
        durable.write_bytes(folder / f"{root.signed.version}.root.json", metadata_bytes(root))
    durable.write_bytes(folder / TIMESTAMP_FILE, _signed(timestamp, signer))


def _roots(folder: Path, keyring: Keyring) -> list[Metadata[Root]]:
    """Return the newest root and the one before it, the newest last, each signed by a releaser of the keyring."""
    versions = sorted(int(path.name.split(".")[0]) for path in folder.glob("[0-9]*.root.json"))[-2:]
    roots = []
    for version in versions:
        path = folder / f"{version}.root.json"
        try:
            root = Metadata[Root].from_bytes(read_metadata(path))
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
    return Signatures(newest, targets, of_targets, timestamp.signed.version)


def _verified(path: Path, role: type[Signed], root: Metadata[Root], meta: MetaFile | None = None) -> Metadata[Signed]:
    """Return a metadata file that its role has signed and that is the one its parent means."""
    data = read_metadata(path)
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
    keys, threshold = _signing_keys(writer, now, channel), writer.keyring.threshold
    if before is not None:
        remaining = before.signed.expires - now
        if _names(before.signed, keys, threshold) and remaining > timedelta(days=RENEW_ROOT_DAYS):
            return None
    version = 1 if before is None else before.signed.version + 1
    expires = now.replace(microsecond=0) + timedelta(days=ROOT_DAYS)
    root = Root(version=version, expires=expires, consistent_snapshot=True)
    for key in keys.values():
        for role in TOP_LEVEL_ROLE_NAMES:
            root.add_key(key.verifier, role)
    for role in (Root.type, Targets.type):
        root.roles[role].threshold = threshold
    metadata = Metadata(root)
    _sign_root(metadata, before, writer, channel)
    return metadata


def _sign_root(root: Metadata[Root], before: Metadata[Root] | None, writer: Writer, channel: str) -> None:
    """Sign a root with the writer's key and, when the root before does not know it, with one at hand that it knows."""
    root.sign(writer.signer, append=True)
    if before is None or writer.signer.public_key.keyid in before.signed.roles[Root.type].keyids:
        return
    known = before.signed.roles[Root.type]
    own = writer.keyring.find(writer.signer.public_key.keyid)
    former = {each.public_key.keyid: each for each in writer.former if each.public_key.keyid in known.keyids}
    if known.threshold > 1:  # where one releaser is not enough, nobody signs with the key of another
        mine = {key.key_id for key in writer.keyring.named(own.name)} if own else set()
        former = {key_id: each for key_id, each in former.items() if key_id in mine}
    if not former:
        raise Rejected(
            "channel-keys",
            subject=channel,
            expected=f"the private half of a key that the channel knows: {', '.join(k[:8] for k in known.keyids)}",
            got=f"key {writer.signer.public_key.keyid[:8]}, which it does not know",
            fix="have one of its releasers renew the channel with a keyring that holds your key",
        )
    for signer in former.values():
        root.sign(signer, append=True)


def _signing_keys(writer: Writer, now: datetime, channel: str) -> dict[str, PublicKey]:
    """Return the keys that a root must name, found to be enough and the writer's among them."""
    keys, signer = _wanted(writer.keyring, now), writer.signer.public_key.keyid
    if len(keys) < writer.keyring.threshold or signer not in keys:
        raise Rejected(
            "channel-keys",
            subject=channel,
            expected=f"{writer.keyring.threshold} releasers whose keys count, and a signature by the newest key of one",
            got=f"{', '.join(f'{key.name} ({key.key_id[:8]})' for key in keys.values())}; {signer[:8]} signs",
            fix="make or import the keys that are missing; sign with the newest one",
        )
    return keys


def _wanted(keyring: Keyring, now: datetime) -> dict[str, PublicKey]:
    """Return the releasers' keys that a root must name: all that count or, where several must sign, one a releaser."""
    keys = keyring.of_role("releaser", now)
    if keyring.threshold > 1:  # who has rotated a key must not count twice
        keys = tuple({key.name: key for key in sorted(keys, key=lambda key: key.created)}.values())
    return {key.key_id: key for key in keys}


def _names(root: Root, keys: Mapping[str, PublicKey], threshold: int) -> bool:
    """Return whether a root names these keys for every role, and asks for so many signatures on itself and targets."""
    return all(
        set(root.roles[role].keyids) == set(keys)
        and root.roles[role].threshold == (threshold if role in (Root.type, Targets.type) else 1)
        for role in TOP_LEVEL_ROLE_NAMES
    )


def _has_signed(key: PublicKey, root: Metadata[Root]) -> bool:
    """Return whether a key stands in a root and has signed it."""
    signature = root.signatures.get(key.key_id)
    if signature is None or key.key_id not in root.signed.roles[Root.type].keyids:
        return False
    try:
        key.verifier.verify_signature(signature, root.signed_bytes)
    except UnverifiedSignatureError:
        return False
    return True


def _signed(signed: Signed, signer: CryptoSigner) -> bytes:
    """Return the bytes of one role's metadata, signed."""
    metadata = Metadata(signed)
    metadata.sign(signer)
    return metadata_bytes(metadata)


def _invalid(channel: Path, got: str) -> Rejected:
    """Return the error about a channel's folder that a writer cannot go on from."""
    return Rejected(
        "channel-invalid",
        subject=str(channel),
        expected="a channel whose metadata are whole, signed and fit each other",
        got=got,
        fix="restore the folder from a copy that readers can use, the newest that there is",
    )
