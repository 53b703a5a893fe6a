"""Writing to a release channel: publish, roll back, yank, renew. A folder that any web server can serve as it is.

    channel/metadata/   TUF metadata: N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    channel/targets/    NAME/history.json and NAME/VERSION/..., each file behind its sha256

Files never change under their name, and the timestamp is written last: a reader, and a writer that was killed, sees
the channel as it was before or as it is after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from tuf.api.metadata import TargetFile

from compose import digest, durable
from compose.errors import Rejected
from compose.parse import make_record
from compose.plain_file import read_bytes
from compose.records import ParentRef
from compose.trust.claims import ClaimedBase, canonical
from compose.trust.clock import instant
from compose.trust.metadata import HASH, TARGETS_FOLDER, Signatures, Writer, read_signed, renew_signed, write_signed
from compose.trust.release import (
    HISTORY_FILE,
    MAX_HISTORY_BYTES,
    RELEASE_FILE,
    RELEASE_TYPE,
    WITHDRAWN_FILE,
    Event,
    History,
    Release,
    Withdrawal,
    Withdrawals,
    log_bytes,
    read_history,
    read_release,
    read_withdrawals,
    released_files,
)
from compose.trust.seal import MAX_SEALED_BYTES, open_seal, seal


@dataclass(frozen=True)
class Bundle:
    """What is released: a composition that was checked, with everything that the check rests on.

    Attributes:
        name: Name of the composition.
        version: Its version.
        base: The base that it is for.
        lock: Digest of its lock.
        patches: What it is made of.
        files: Path -> bytes: the lock, the verdict, the evidence, the patches.
        note: What its users should know.
    """

    name: str
    version: str
    base: ClaimedBase
    lock: str
    patches: tuple[ParentRef, ...]
    files: Mapping[str, bytes] = field(repr=False)
    note: str = ""


def publish(channel: Path, bundle: Bundle, writer: Writer, now: datetime) -> Event:
    """Return the event that made a release current. The channel is made when it is not there.

    Whether the composition may be released is the caller's to know: `compose.trust.check`.

    Raises:
        Rejected: `release-order` when the version is not above all that were released; `release-invalid` for a bundle
            that is not complete; `release-withdrawn` for one with a patch that was withdrawn; `channel-keys`,
            `channel-invalid`, `key-revoked`, `key-expired`; `disk-full` or `read-only`.
    """
    fields = {
        "name": bundle.name,
        "version": bundle.version,
        "base": bundle.base,
        "lock": bundle.lock,
        "patches": bundle.patches,
        "files": released_files(bundle.files),
        "released": instant(now),
        "note": bundle.note,
    }
    subject = f"release of {bundle.name} {bundle.version}"
    release = make_record(Release, fields, subject=subject, code="release-invalid")
    with writing(channel, writer, now) as session:
        withdrawn = session.withdrawals().among(release.patches)
        if withdrawn is not None:
            raise _withdrawn(subject, withdrawn)
        sealed = seal(canonical(release), RELEASE_TYPE, writer.signer)
        files = {f"{release.name}/{release.version}/{path}": data for path, data in bundle.files.items()}
        files[f"{release.name}/{release.version}/{RELEASE_FILE}"] = sealed
        done = _Done("release", release.version, digest.of_bytes(sealed))
        return session.commit(release.name, done, files)


def rollback(channel: Path, name: str, version: str, reason: str, writer: Writer, now: datetime) -> Event:
    """Return the event that made an earlier release current again, for a reason.

    Raises:
        Rejected: `release-missing` when no such version was released; `release-order` when it is yanked or current, or
            the reason is empty; and as `publish`.
    """
    with writing(channel, writer, now) as session:
        return session.commit(name, _Done("rollback", version, session.released(name, version), reason), {})


def yank(channel: Path, name: str, version: str, reason: str, writer: Writer, now: datetime) -> Event:
    """Return the event that took a release back for good, for a reason. The yank of the current one leaves none.

    Raises:
        Rejected: As `rollback`.
    """
    with writing(channel, writer, now) as session:
        return session.commit(name, _Done("yank", version, session.released(name, version), reason), {})


def withdraw(
    channel: Path, name: str, version: str, reason: str, writer: Writer, now: datetime
) -> tuple[Withdrawal, ...]:
    """Return the withdrawals of a patch: every release that it is part of is refused from now on, and none can follow.

    A name and version mean every matrix that releases of this channel have known under them, and that is not withdrawn.

    Raises:
        Rejected: `release-missing`, when no release has such a patch that is not withdrawn; `release-invalid` without a
            reason; and as `publish`.
    """
    with writing(channel, writer, now) as session:
        before = session.withdrawals()
        found = {
            patch.digest: patch
            for patch in session.released_patches()
            if (patch.name, patch.version) == (name, version) and before.among([patch]) is None
        }
        if not found:
            raise _nothing(channel, f"a release with the patch {name} {version}")
        key = writer.signer.public_key.keyid
        added = tuple(
            make_record(
                Withdrawal,
                {"patch": patch, "at": instant(now), "by": key, "reason": reason.strip()},
                subject=f"withdrawal of {name} {version}",
                code="release-invalid",
            )
            for patch in found.values()
        )
        fields = {"patches": (*before.patches, *added)}
        after = make_record(Withdrawals, fields, subject=WITHDRAWN_FILE, code="release-invalid")
        session.write({WITHDRAWN_FILE: log_bytes(after)})
        return added


def renew(channel: Path, writer: Writer, now: datetime) -> int | None:
    """Return the channel's version after it was signed anew, or None while that waits: what it says counts for longer.

    This also hands a channel over to the releasers that the keyring holds now. Where that takes several releasers, the
    new version waits for them, as every change does (compose.trust.cosigning).

    Raises:
        Rejected: `release-missing`, when there is no channel; and as `publish`.
    """
    with writing(channel, writer, now) as session:
        if session.before is None:
            raise _nothing(channel, "a channel")
        return session.before.version + 1 if renew_signed(channel, session.before, writer, now) else None


class _Done(NamedTuple):
    """What is being done, before it has a number and a time."""

    action: Literal["release", "rollback", "yank"]
    version: str
    release: str
    reason: str = ""


@dataclass(frozen=True)
class Held:
    """The files in a channel's folder that some targets name."""

    channel: Path
    targets: Mapping[str, TargetFile]

    def read(self, path: str, max_bytes: int) -> bytes | None:
        """Return a file of the channel, verified against the targets, or None when they name no such file."""
        target = self.targets.get(path)
        if target is None:
            return None
        place = self.channel / TARGETS_FOLDER / target.get_prefixed_paths()[0]
        data = read_bytes(place, max_bytes=max_bytes, code="channel-invalid", subject=str(place))
        if data is None or digest.of_bytes(data) != f"sha256:{target.hashes[HASH]}":
            raise Rejected(
                "channel-invalid",
                subject=str(place),
                expected=f"the file that the channel's metadata name, sha256:{target.hashes[HASH]}",
                got="no such file" if data is None else digest.of_bytes(data),
                fix="restore the folder from a copy that readers can use, the newest that there is",
            )
        return data

    def history(self, name: str) -> History:
        """Return the history of a name; an empty one when it has none."""
        data = self.read(f"{name}/{HISTORY_FILE}", MAX_HISTORY_BYTES)
        if data is None:
            return make_record(History, {"name": name}, subject=f"name {name}", code="release-invalid")
        return read_history(data, name=name, subject=f"{self.channel}: {name}/{HISTORY_FILE}")

    def withdrawals(self) -> Withdrawals:
        """Return every patch that was withdrawn."""
        data = self.read(WITHDRAWN_FILE, MAX_HISTORY_BYTES)
        return Withdrawals() if data is None else read_withdrawals(data, subject=f"{self.channel}: {WITHDRAWN_FILE}")


@dataclass(frozen=True)
class Session(Held):
    """A channel that nobody else writes to, as it was when it was locked."""

    before: Signatures | None
    writer: Writer
    now: datetime

    def released_patches(self) -> Iterator[ParentRef]:
        """Yield the patches of every release whose seal counts; the others are refused by every reader anyway."""
        for path in sorted(self.targets):
            if not path.endswith(f"/{RELEASE_FILE}"):
                continue
            sealed = self.read(path, MAX_SEALED_BYTES) or b""
            try:
                opened = open_seal(sealed, self.writer.keyring, "releaser", self.now, payload_type=RELEASE_TYPE)
            except Rejected as error:
                if error.code in ("key-expired", "key-revoked"):
                    continue
                raise
            yield from read_release(opened.payload, subject=path).patches

    def released(self, name: str, version: str) -> str:
        """Return the digest of a version's release.json."""
        found = self.history(name).released.get(version) if self.before else None
        if found is None:
            raise _nothing(self.channel, f"{name} {version}")
        return found

    def commit(self, name: str, done: _Done, files: Mapping[str, bytes]) -> Event:
        """Return the event, once it and these files are part of the channel's next version."""
        history = self.history(name)
        fields = {
            **done._asdict(),
            "serial": len(history.events) + 1,
            "at": instant(self.now),
            "by": self.writer.signer.public_key.keyid,
        }
        event = make_record(Event, fields, subject=f"{done.action} of {name}", code="release-invalid")
        self.write({**files, f"{name}/{HISTORY_FILE}": log_bytes(history.with_event(event))})
        return event

    def write(self, files: Mapping[str, bytes]) -> None:
        """Make these files part of the channel's next version, which keeps all others."""
        targets = dict(self.targets)
        for path, data in files.items():
            targets[path] = TargetFile.from_data(path, data, [HASH])
            (hashed,) = targets[path].get_prefixed_paths()
            durable.write_bytes(self.channel / TARGETS_FOLDER / hashed, data)
        write_signed(self.channel, self.before, targets, self.writer, self.now)


@contextmanager
def writing(channel: Path, writer: Writer, now: datetime) -> Iterator[Session]:
    """Yield a session at a channel, for a signer whom readers will believe.

    Raises:
        Rejected: `key-role`, `key-revoked`, `key-expired`; as `read_signed`.
    """
    key = writer.keyring.find(writer.signer.public_key.keyid)
    if key is None or key.role != "releaser":
        raise Rejected(
            "key-role",
            subject=f"key {writer.signer.public_key.keyid[:8]}",
            expected="a releaser key of the keyring",
            got="one that is not in it" if key is None else f"{key.role} key {key.name}",
            fix="make one with `compose keys new NAME --role releaser`",
        )
    key.check_in_force(now)
    with durable.locked(channel, waiting_for="another writer of this channel"):
        before = read_signed(channel, writer.keyring)
        yield Session(channel, before.targets if before else {}, before, writer, now)


def _nothing(channel: Path, wanted: str) -> Rejected:
    """Return the error about something that was never released."""
    return Rejected(
        "release-missing",
        subject=str(channel),
        expected=wanted,
        got="nothing of the kind was released here",
        fix="check the folder, the name and the version; `compose audit` lists what a channel holds",
    )


def _withdrawn(subject: str, withdrawal: Withdrawal) -> Rejected:
    """Return the error about a composition with a patch that was withdrawn."""
    patch = withdrawal.patch
    return Rejected(
        "release-withdrawn",
        subject=subject,
        expected="patches that may be used",
        got=f"{patch.name} {patch.version}, withdrawn at {withdrawal.at}: {withdrawal.reason}",
        fix="compose it with another version of the patch",
    )
