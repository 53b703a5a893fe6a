"""What a channel says: releases with every file by digest, and the history of what was current and why.

A release never changes. What is current changes by events alone, each signed with the channel's next version: a release
of a higher version, a rollback to an earlier one, the yank of one that must not be used. A history that breaks these
rules cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from compose import digest
from compose.errors import Rejected
from compose.parse import make_record, read_record, strict_json
from compose.records import Claim, Digest, Name, ParentRef, PlainText, Version
from compose.trust.claims import MAX_PATCHES, ClaimedBase, canonical
from compose.trust.clock import Instant
from compose.trust.keyring import KeyId
from compose.trust.ranges import number

RELEASE_TYPE = "application/vnd.compose.release+json"
RELEASE_FILE = "release.json"
HISTORY_FILE = "history.json"
WITHDRAWN_FILE = "withdrawn.json"
LOCK_FILE = "compose.lock"
VERDICT_FILE = "verdict.json"
EVIDENCE_PREFIX = "evidence-"
PATCHES_PREFIX = "patches/"
MAX_RELEASE_BYTES = 1024 * 1024
MAX_HISTORY_BYTES = 4 * 1024 * 1024
MAX_RELEASED_FILE_BYTES = 128 * 1024 * 1024
MAX_FILES = 1024
MAX_EVENTS = 10_000

_PART = r"[a-z0-9][a-z0-9_-]{0,159}(?:\.[a-z0-9_-]{1,64}){0,2}"
FilePath = Annotated[str, Field(pattern=rf"^{_PART}(?:/{_PART}){{0,3}}$", max_length=512)]
"""Where a file is inside its release: it becomes a path on the disk of whoever reads it."""


class ReleasedFile(Claim):
    """One file of a release: where it is, its digest and its size."""

    path: FilePath
    digest: Digest
    size: Annotated[int, Field(ge=0, le=MAX_RELEASED_FILE_BYTES)]


class Release(Claim):
    """One released composition, sealed by a releaser.

    Attributes:
        schema_version: Layout of this record.
        name: Name of the composition.
        version: Its version.
        base: The base that it is for.
        lock: Digest of its lock.
        patches: What it is made of.
        files: Its lock, verdict, evidence and patches; nothing is released without each of them.
        released: When.
        note: What its users should know.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    base: ClaimedBase
    lock: Digest
    patches: Annotated[tuple[ParentRef, ...], Field(min_length=1, max_length=MAX_PATCHES)]
    files: Annotated[tuple[ReleasedFile, ...], Field(min_length=4, max_length=MAX_FILES)]
    released: Instant
    note: PlainText = ""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        paths = [file.path for file in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("the files of a release must be sorted by path, each once")
        for what, found in (
            ("its lock", LOCK_FILE in paths),
            ("its verdict", VERDICT_FILE in paths),
            ("evidence", any(path.startswith(EVIDENCE_PREFIX) for path in paths)),
            ("patches", any(path.startswith(PATCHES_PREFIX) for path in paths)),
        ):
            if not found:
                raise ValueError(f"a release must hold {what}")
        return self


class Event(Claim):
    """What was done to a channel.

    Attributes:
        serial: 1 for the first event of a name, then counting up.
        action: A release makes its version current, a rollback makes an earlier one current again, a yank takes one
            back for good.
        version: The version that it is about.
        release: Digest of that version's release.json.
        at: When.
        by: Id of the releaser's key.
        reason: Why; only a release needs none.
    """

    serial: Annotated[int, Field(ge=1)]
    action: Literal["release", "rollback", "yank"]
    version: Version
    release: Digest
    at: Instant
    by: KeyId
    reason: PlainText = ""


class History(Claim):
    """Every event of one name in a channel, the oldest first."""

    schema_version: Literal[1] = 1
    name: Name
    events: Annotated[tuple[Event, ...], Field(max_length=MAX_EVENTS)] = ()

    @model_validator(mode="after")
    def _can_have_happened(self) -> Self:
        state = _State()
        for serial, event in enumerate(self.events, start=1):
            if event.serial != serial:
                raise ValueError(f"event {serial} must have the serial {serial}")
            fault = state.apply(event)
            if fault:
                raise ValueError(f"event {serial}: {fault}")
        return self

    @property
    def current(self) -> Event | None:
        """The event that made the current version current; None when that version was yanked, or before any."""
        return self._state().current

    @property
    def lapsed(self) -> Event | None:
        """The yank that left no version current, while none is."""
        return self._state().lapsed

    @property
    def released(self) -> Mapping[str, str]:
        """Each version that was ever released -> digest of its release.json, in order."""
        return self._state().released

    @property
    def yanked(self) -> Mapping[str, Event]:
        """Each version that must not be used -> the event that says why."""
        return self._state().yanked

    def with_event(self, event: Event) -> History:
        """Return the history with one more event.

        Raises:
            Rejected: `release-order`, when the event cannot follow: a version that is not above all others, a rollback
                to a version that was never released, is yanked or is current, a yank of one that is yanked, no reason.
        """
        state = self._state()
        fault = state.apply(event)
        if fault:
            raise Rejected(
                "release-order",
                subject=f"{event.action} of {self.name} {event.version}",
                expected="an event that can follow the channel's history",
                got=fault,
                fix=f"look at `compose audit`; released are {', '.join(state.released) or 'no versions'}",
            )
        fields = {"name": self.name, "events": (*self.events, event)}
        return make_record(History, fields, subject=f"history of {self.name}", code="release-invalid")

    def _state(self) -> _State:
        state = _State()
        for event in self.events:
            state.apply(event)
        return state


class _State:
    """What the events so far have led to."""

    def __init__(self) -> None:
        self.current: Event | None = None
        self.lapsed: Event | None = None
        self.released: dict[str, str] = {}
        self.yanked: dict[str, Event] = {}
        self._latest = ""

    def apply(self, event: Event) -> str:
        """Return why an event cannot follow, or nothing, once it has been taken in."""
        fault = self._fault(event)
        if fault:
            return fault
        self._latest = event.at
        if event.action == "yank":
            self.yanked[event.version] = event
            if self.current is not None and self.current.version == event.version:
                self.current, self.lapsed = None, event
        else:
            self.released[event.version] = event.release
            self.current, self.lapsed = event, None
        return ""

    def _fault(self, event: Event) -> str:
        """Return why an event cannot follow, or nothing."""
        if event.at < self._latest:
            return f"it is of {event.at} and the one before of {self._latest}"
        if event.action == "release":
            highest = max(self.released, key=number, default="")
            if highest and number(event.version) <= number(highest):
                return f"{highest} was released, and a release must be above it"
            return ""
        if not event.reason.strip():
            return f"a {event.action} must name its reason"
        if self.released.get(event.version) != event.release:
            return f"no such release of {event.version}"
        if event.version in self.yanked:
            return f"{event.version} was yanked: {self.yanked[event.version].reason}"
        if event.action == "rollback" and self.current is not None and self.current.version == event.version:
            return f"{event.version} is current"
        return ""


class Withdrawal(Claim):
    """A patch that must not be used, whatever it is part of.

    Attributes:
        patch: The patch; its matrix is what counts, under whichever name.
        at: Since when.
        by: Id of the releaser's key.
        reason: Why.
    """

    patch: ParentRef
    at: Instant
    by: KeyId
    reason: Annotated[PlainText, Field(min_length=1)]


class Withdrawals(Claim):
    """Every patch that a channel has taken back, the earliest first."""

    schema_version: Literal[1] = 1
    patches: Annotated[tuple[Withdrawal, ...], Field(max_length=MAX_EVENTS)] = ()

    def among(self, patches: Iterable[ParentRef]) -> Withdrawal | None:
        """Return the first withdrawal of one of these patches, or None."""
        digests = {patch.digest for patch in patches}
        return next((each for each in self.patches if each.patch.digest in digests), None)


def read_withdrawals(data: bytes, *, subject: str) -> Withdrawals:
    """Return the withdrawals that `data` spells.

    Raises:
        Rejected: `release-invalid`.
    """
    fields = strict_json(data, subject=subject, code="release-invalid", max_bytes=MAX_HISTORY_BYTES)
    return read_record(Withdrawals, fields, subject=subject, code="release-invalid")


def read_release(data: bytes, *, subject: str) -> Release:
    """Return the release that canonical JSON spells, the payload of release.json.

    Raises:
        Rejected: `release-invalid`.
    """
    fields = strict_json(data, subject=subject, code="release-invalid", max_bytes=MAX_RELEASE_BYTES)
    return read_record(Release, fields, subject=subject, code="release-invalid")


def read_history(data: bytes, *, name: str, subject: str) -> History:
    """Return the history of a name.

    Raises:
        Rejected: `release-invalid`, when it is malformed, of another name, or cannot have happened.
    """
    fields = strict_json(data, subject=subject, code="release-invalid", max_bytes=MAX_HISTORY_BYTES)
    history = read_record(History, fields, subject=subject, code="release-invalid")
    if history.name != name:
        raise Rejected(
            "release-invalid",
            subject=subject,
            expected=f"the history of {name}",
            got=f"that of {history.name}",
            fix="have the channel's maintainer publish it anew",
        )
    return history


def log_bytes(log: History | Withdrawals) -> bytes:
    """Return the bytes of history.json or withdrawn.json."""
    return canonical(log) + b"\n"


def released_files(files: Mapping[str, bytes]) -> tuple[dict[str, object], ...]:
    """Return the fields of each `ReleasedFile`, sorted by path."""
    return tuple(
        {"path": path, "digest": digest.of_bytes(files[path]), "size": len(files[path])} for path in sorted(files)
    )
