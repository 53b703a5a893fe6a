"""A channel's next version while it lacks signatures: targets, and a root when the releasers change.

    channel/proposal/   targets.json, and root.json

No reader looks here. What was released, rolled back or yanked with too few signatures waits for those of other
releasers (compose.trust.cosigning), and gives way to the next change that somebody puts forward.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from compose import durable
from compose.errors import Rejected
from compose.plain_file import read_bytes

PROPOSAL_FOLDER = "proposal"
TARGETS_FILE = "targets.json"
ROOT_FILE = "root.json"
MAX_METADATA_BYTES = 5_000_000

Signed = TypeVar("Signed", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class Proposal:
    """What a channel's next version would be.

    Attributes:
        targets: Its targets.
        root: Its root; None when the one that is there stays.
    """

    targets: Metadata[Targets]
    root: Metadata[Root] | None = None

    def lacking(self, before: Metadata[Root] | None) -> int:
        """Return how many more releasers must sign it, for readers who trust the root that is there to accept it.

        Args:
            before: The root that is there; None before the first.

        Raises:
            ValueError: There is no root at all, or this one's does not follow the one that is there.
        """
        ruling = self.root or before
        if ruling is None:
            raise ValueError("a first version needs a root")
        signed = ruling.signed.get_verification_result(Targets.type, self.targets.signed_bytes, self.targets.signatures)
        missing = [signed.missing]
        if self.root is not None:
            both = self.root.signed.get_root_verification_result(
                before.signed if before else None, self.root.signed_bytes, self.root.signatures
            )
            missing += [both.first.missing, both.second.missing]
        return max(missing)


def stage(channel: Path, proposal: Proposal) -> None:
    """Write a proposal, whole or not at all, in the place of the one that waited before.

    Raises:
        Rejected: `disk-full` or `read-only`.
    """
    with durable.new_folder(channel / PROPOSAL_FOLDER, replace=True) as folder:
        durable.write_bytes(folder / TARGETS_FILE, metadata_bytes(proposal.targets))
        if proposal.root is not None:
            durable.write_bytes(folder / ROOT_FILE, metadata_bytes(proposal.root))


def drop(channel: Path) -> None:
    """Remove what waited, once it is part of the channel or has given way."""
    shutil.rmtree(channel / PROPOSAL_FOLDER, ignore_errors=True)


def read_proposal(channel: Path, before: Metadata[Root] | None) -> Proposal | None:
    """Return what waits in a channel, its signatures counted by nobody yet; None when nothing does.

    Args:
        channel: The channel's folder.
        before: The root that is there; None before the first.

    Raises:
        Rejected: `proposal-refused`, when it is malformed or does not follow that root.
    """
    folder = channel / PROPOSAL_FOLDER
    if not folder.is_dir():
        return None
    try:
        targets = Metadata[Targets].from_bytes(read_metadata(folder / TARGETS_FILE))
        root = Metadata[Root].from_bytes(read_metadata(folder / ROOT_FILE)) if (folder / ROOT_FILE).exists() else None
        if root is not None and before is not None and root.signed_bytes == before.signed_bytes:
            root = None  # a crash after the root was written, and before the timestamp
        if not isinstance(targets.signed, Targets) or (root is not None and not isinstance(root.signed, Root)):
            raise RepositoryError("metadata of another kind")
        proposal = Proposal(targets, root)
        proposal.lacking(before)
    except (RepositoryError, ValueError) as error:
        raise proposal_refused(channel, "targets, and a root that follows the channel's", str(error)) from error
    return proposal


def read_metadata(path: Path) -> bytes:
    """Return the bytes of a metadata file.

    Raises:
        RepositoryError: It is not there.
        Rejected: `channel-invalid` for anything but a plain file of sane size.
    """
    data = read_bytes(path, max_bytes=MAX_METADATA_BYTES, code="channel-invalid", subject=str(path))
    if data is None:
        raise RepositoryError(f"there is no {path.name}")
    return data


def metadata_bytes(metadata: Metadata[Signed]) -> bytes:
    """Return the bytes of a metadata file."""
    return metadata.to_bytes(JSONSerializer(compact=False))


def proposal_refused(channel: Path, expected: str, got: str) -> Rejected:
    """Return the error about a proposal that nobody should sign."""
    return Rejected(
        "proposal-refused",
        subject=str(channel / PROPOSAL_FOLDER),
        expected=expected,
        got=got,
        fix="do not sign it: ask whoever put it forward, or put the change forward anew",
    )
