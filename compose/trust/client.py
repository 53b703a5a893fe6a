"""Reading a release channel: what is current, and its files, verified from bytes to bytes.

TUF's own client (tuf.ngclient) follows the channel and remembers what it saw, so that an older channel (rollback), one
that is held back (freeze), and parts of different versions (mix-and-match) are refused. On top of that, as many
releasers of the reader's own keyring as it asks for, whose keys count now, must have signed the channel's root, and one
of them the release itself; and what was seen of a history or of the withdrawals must still be there, so that a yank
cannot be lost by whoever restores an old copy.

Nothing is read twice: a file is fetched into memory, its digest is compared, and these bytes are handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import platformdirs
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from compose import digest, durable
from compose.errors import Rejected
from compose.records import NAME_PATTERN, Claim
from compose.trust.keyring import Keyring
from compose.trust.metadata import METADATA_FOLDER, TARGETS_FOLDER, vouched
from compose.trust.release import (
    HISTORY_FILE,
    MAX_RELEASED_FILE_BYTES,
    RELEASE_FILE,
    RELEASE_TYPE,
    WITHDRAWN_FILE,
    Event,
    History,
    Release,
    Withdrawals,
    log_bytes,
    read_history,
    read_release,
    read_withdrawals,
)
from compose.trust.seal import open_seal
from compose.trust.transport import ELSEWHERE, address_of, fetcher_for, mixed, refused, refused_by_tuf

MAX_ROOT_BYTES = 512_000
MAX_ROOTS = 256
LOGS_FOLDER = "logs"


@dataclass(frozen=True)
class Fetched:
    """A release whose every byte has been verified.

    Attributes:
        release: What it says.
        digest: Digest of its release.json.
        signed_by: Ids of the keys that sealed it.
        files: Path -> bytes, exactly those that the release lists.
    """

    release: Release
    digest: str
    signed_by: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)


class Named(NamedTuple):
    """A release as a history names it: its name, its version and the digest of its release.json."""

    name: str
    version: str
    digest: str


def open_release(
    sealed: bytes, named: Named, keyring: Keyring, now: datetime, *, subject: str
) -> tuple[Release, tuple[str, ...]]:
    """Return what a release.json says and the ids of the keys that sealed it.

    Raises:
        Rejected: What `open_seal` refuses; `release-invalid`; `channel-mixed` when another release was meant.
    """
    place = f"{subject}{RELEASE_FILE}"
    opened = open_seal(sealed, keyring, "releaser", now, payload_type=RELEASE_TYPE, subject=place)
    release = read_release(opened.payload, subject=place)
    found = Named(release.name, release.version, digest.of_bytes(sealed))
    if found != named:
        raise mixed(place, " ".join(named), " ".join(found))
    return release, opened.key_ids


def read_files(release: Release, read: Callable[[str], bytes], *, subject: str) -> dict[str, bytes]:
    """Return every file of a release by its path, verified against it.

    Raises:
        Rejected: What reading refuses; `channel-mixed` for other bytes than the release lists.
    """
    files = {}
    for file in release.files:
        files[file.path] = read(file.path)
        if digest.of_bytes(files[file.path]) != file.digest:
            raise mixed(f"{subject}{file.path}", file.digest, digest.of_bytes(files[file.path]))
    return files


class Reader:
    """A channel as it was when it was opened: one version of it, whatever its writers do meanwhile."""

    def __init__(self, trip: _Trip, updater: Updater, fetcher: FetcherInterface):
        self.source = trip.source
        self._trip = trip
        self._updater = updater
        self._fetcher = fetcher

    def history(self, name: str) -> History:
        """Return every event of a name.

        Raises:
            Rejected: `release-missing`, `release-invalid`; `channel-rollback` when an event is gone that was there
                before; `channel-unreachable` or `channel-mixed`.
        """
        path = f"{name}/{HISTORY_FILE}"
        data = self._target(path)
        history = read_history(data, name=name, subject=f"{self.source} {path}")
        self._remember(
            path, data, history.events, lambda old, place: read_history(old, name=name, subject=place).events
        )
        return history

    def withdrawals(self) -> Withdrawals:
        """Return the patches that were withdrawn from every release of the channel.

        Raises:
            Rejected: As `history`.
        """
        data = self._target(WITHDRAWN_FILE) if self._has(WITHDRAWN_FILE) else log_bytes(Withdrawals())
        withdrawals = read_withdrawals(data, subject=f"{self.source} {WITHDRAWN_FILE}")
        self._remember(
            WITHDRAWN_FILE,
            data,
            withdrawals.patches,
            lambda old, place: read_withdrawals(old, subject=place).patches,
        )
        return withdrawals

    def names(self) -> tuple[str, ...]:
        """Return the names that the channel has releases of, sorted."""
        targets = self._updater._trusted_set.targets.targets  # tuf has no public way to list what there is
        found = (path.removesuffix(f"/{HISTORY_FILE}") for path in targets if path.endswith(f"/{HISTORY_FILE}"))
        return tuple(sorted(name for name in found if re.fullmatch(NAME_PATTERN, name)))

    def current(self, name: str) -> Event:
        """Return the event that made the current version of a name current; `fetch` says whether it may be used.

        Raises:
            Rejected: `release-withdrawn` when it was yanked and nothing took its place; and as `history`.
        """
        history = self.history(name)
        if history.lapsed is not None:
            raise self._yanked(history.lapsed)
        if history.current is None:
            raise self._missing(f"any version of {name}")
        return history.current

    def fetch(self, name: str, version: str | None = None, *, withdrawn: bool = False) -> Fetched:
        """Return a release with all of its files.

        Args:
            name: Name of the composition.
            version: Its version; the current one when None.
            withdrawn: Whether a yanked version is read too, for an audit; never for use.

        Raises:
            Rejected: `release-withdrawn` for a yanked version, or one with a withdrawn patch; `release-missing`;
                `release-invalid`; what `open_seal` refuses; `channel-rollback`, `channel-unreachable` or
                `channel-mixed`.
        """
        history = self.history(name)
        wanted = version if version is not None else self.current(name).version
        if wanted not in history.released:
            raise self._missing(f"{name} {wanted}")
        if wanted in history.yanked and not withdrawn:
            raise self._yanked(history.yanked[wanted])
        prefix = f"{name}/{wanted}/"
        sealed, subject = self._target(prefix + RELEASE_FILE), f"{self.source} {prefix}"
        named = Named(name, wanted, history.released[wanted])
        release, signed_by = open_release(sealed, named, self._trip.keyring, self._trip.now, subject=subject)
        lost = self.withdrawals().among(release.patches)
        if lost is not None and not withdrawn:
            raise self._withdrawn(f"{name} {wanted} with {lost.patch.name} {lost.patch.version}", lost.at, lost.reason)
        files = read_files(release, lambda path: self._target(prefix + path), subject=subject)
        return Fetched(release, named.digest, signed_by, files)

    def _target(self, path: str) -> bytes:
        """Return the bytes of a file that the channel's metadata name, verified against them."""
        with refused_by_tuf(self.source):
            target = self._updater.get_targetinfo(path)
            if target is None:
                raise self._missing(path)
            if target.length > MAX_RELEASED_FILE_BYTES:
                raise mixed(f"{self.source} {path}", f"at most {MAX_RELEASED_FILE_BYTES} bytes", str(target.length))
            hashed = target.get_prefixed_paths()[0]
            data = self._fetcher.download_bytes(f"{address_of(self.source)}/{TARGETS_FOLDER}/{hashed}", target.length)
            target.verify_length_and_hashes(data)
        return data

    def _has(self, path: str) -> bool:
        """Return whether the channel's metadata name a file."""
        with refused_by_tuf(self.source):
            return self._updater.get_targetinfo(path) is not None

    def _remember(
        self, path: str, data: bytes, entries: Sequence[Claim], seen_in: Callable[[bytes, str], Sequence[Claim]]
    ) -> None:
        """Refuse a log that does not go on from what was seen of it before, and remember it."""
        place = self._trip.state / LOGS_FOLDER / path.replace("/", ".")
        if place.exists():
            old = place.read_bytes()
            if old == data:
                return
            seen = seen_in(old, f"{place}, what was seen of {path} before")
            if list(entries[: len(seen)]) != list(seen):
                raise refused(
                    "channel-rollback",
                    f"{self.source} {path}",
                    f"the {len(seen)} entries that were there before, and more",
                    f"{len(entries)} entries, others",
                    f"{ELSEWHERE}; if they made the channel anew, delete {self._trip.state}",
                )
        durable.write_bytes(place, data)

    def _missing(self, wanted: str) -> Rejected:
        return Rejected(
            "release-missing",
            subject=self.source,
            expected=f"a release with {wanted}",
            got="nothing of the kind",
            fix=f"check the name and the version; the channel has {', '.join(self.names()) or 'no releases'}",
        )

    def _yanked(self, event: Event) -> Rejected:
        return self._withdrawn(event.version, event.at, event.reason)

    def _withdrawn(self, what: str, at: str, reason: str) -> Rejected:
        return Rejected(
            "release-withdrawn",
            subject=self.source,
            expected="a release that may be used",
            got=f"{what}, yanked at {at}: {reason}",
            fix="stop using it; its maintainers can make another version current by a release or a rollback",
        )


@dataclass(frozen=True)
class _Trip:
    """Who reads what, when, and where they remember it."""

    source: str
    keyring: Keyring
    state: Path
    now: datetime


@contextmanager
def open_channel(source: str, keyring: Keyring, *, state: Path, now: datetime) -> Iterator[Reader]:
    """Yield a verified reader of a channel, and remember its version in `state`.

    Args:
        source: The channel's folder, or its address (http, https or file).
        keyring: The keys that the reader trusts.
        state: Folder where the reader remembers what it saw of this channel; made when it is not there. Losing it
            loses the protection against older versions of the channel that have not expired.
        now: The moment at which metadata and keys must count.

    Raises:
        Rejected: `channel-expired`, `channel-rollback`, `channel-forged`, `channel-mixed`, `channel-invalid`,
            `channel-keys`, `channel-unreachable`.
    """
    address = address_of(source)
    fetcher = fetcher_for(address)
    with durable.refused_by_disk(state):
        state.mkdir(parents=True, exist_ok=True)
    with durable.locked(state), refused_by_tuf(source):
        updater = Updater(
            metadata_dir=str(state),
            metadata_base_url=f"{address}/{METADATA_FOLDER}/",
            fetcher=fetcher,
            config=UpdaterConfig(max_root_rotations=MAX_ROOTS, root_max_length=MAX_ROOT_BYTES),
            bootstrap=_trusted_root(source, fetcher, keyring, state, now),
        )
        # tuf takes the time from the system. Here it is an argument, as everywhere.
        updater._trusted_set.reference_time = now
        updater.refresh()
        root = Metadata[Root].from_bytes((state / "root.json").read_bytes())
        if not vouched(root, keyring, now):
            raise _not_vouched(source, keyring)
        yield Reader(_Trip(source, keyring, state, now), updater, fetcher)


def default_state(source: str) -> Path:
    """Return where this user's readers remember a channel: below `$COMPOSE_STATE`, or this user's state folder."""
    chosen = os.environ.get("COMPOSE_STATE", "")
    root = Path(chosen).expanduser().absolute() if chosen else platformdirs.user_state_path("compose", appauthor=False)
    return root / "channels" / digest.of_bytes(address_of(source).encode()).removeprefix("sha256:")[:16]


def _trusted_root(source: str, fetcher: FetcherInterface, keyring: Keyring, state: Path, now: datetime) -> bytes:
    """Return the root to start from: the one that was trusted last, or the newest one that the keyring vouches for."""
    known = state / "root.json"
    if known.exists():
        return _remembered_root(known)
    found = None
    for version in range(1, MAX_ROOTS + 1):
        address = f"{address_of(source)}/{METADATA_FOLDER}/{version}.root.json"
        try:
            data = fetcher.download_bytes(address, MAX_ROOT_BYTES)
        except DownloadHTTPError as error:
            if error.status_code not in (403, 404):
                raise
            break
        if vouched(Metadata[Root].from_bytes(data), keyring, now):
            found = data
    else:
        raise RepositoryError(f"more than {MAX_ROOTS} roots")
    if found is None:
        raise _not_vouched(source, keyring, none=version == 1)
    return found


def _remembered_root(path: Path) -> bytes:
    """Return the root that was trusted last."""
    data = path.read_bytes()
    try:
        Metadata[Root].from_bytes(data)
    except RepositoryError as error:
        raise refused(
            "channel-invalid",
            str(path),
            "the root of this channel that was trusted last",
            str(error),
            "delete the folder that it is in; the channel is then met for the first time",
        ) from error
    return data


def _not_vouched(source: str, keyring: Keyring, *, none: bool = False) -> Rejected:
    """Return the error about a channel of people whom the reader does not trust."""
    several = keyring.threshold > 1
    who = f"{keyring.threshold} releasers of your keyring have" if several else "a releaser of your keyring has"
    return refused(
        "channel-keys",
        source,
        f"a root that {who} signed with a key that counts now" + (", and that asks for as many" if several else ""),
        "no root at all" if none else f"one that {'too few' if several else 'none'} of them have signed",
        "check the address; if the releasers have new keys, get their keyring and `compose keys import` it",
    )
