"""Reading a release channel: what is current, and its files, verified from bytes to bytes.

TUF's own client (tuf.ngclient) follows the channel and remembers what it saw, so that an older channel (rollback), one
that is held back (freeze), and parts of different versions (mix-and-match) are refused. On top of that, a releaser of
the reader's own keyring who counts now must have signed the channel's root and the release itself.

Nothing is read twice: a file is fetched into memory, its digest is compared, and these bytes are handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import platformdirs
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3.exceptions import HTTPError

from compose import digest, durable
from compose.errors import Rejected
from compose.plain_file import read_bytes
from compose.records import NAME_PATTERN
from compose.trust.keyring import Keyring
from compose.trust.metadata import METADATA_FOLDER, TARGETS_FOLDER, vouched
from compose.trust.release import (
    HISTORY_FILE,
    MAX_RELEASED_FILE_BYTES,
    RELEASE_FILE,
    RELEASE_TYPE,
    Event,
    History,
    Release,
    read_history,
    read_release,
)
from compose.trust.seal import open_seal

MAX_ROOT_BYTES = 512_000
MAX_ROOTS = 256


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


class Reader:
    """A channel as it was when it was opened: one version of it, whatever its writers do meanwhile."""

    def __init__(self, source: str, updater: Updater, fetcher: FetcherInterface, keyring: Keyring, now: datetime):
        self.source = source
        self._updater = updater
        self._fetcher = fetcher
        self._keyring = keyring
        self._now = now

    def history(self, name: str) -> History:
        """Return every event of a name.

        Raises:
            Rejected: `release-missing`, `release-invalid`; `channel-unreachable` or `channel-mixed`.
        """
        path = f"{name}/{HISTORY_FILE}"
        return read_history(self._target(path), name=name, subject=f"{self.source} {path}")

    def names(self) -> tuple[str, ...]:
        """Return the names that the channel has releases of, sorted."""
        targets = self._updater._trusted_set.targets.targets  # tuf has no public way to list what there is
        found = (path.removesuffix(f"/{HISTORY_FILE}") for path in targets if path.endswith(f"/{HISTORY_FILE}"))
        return tuple(sorted(name for name in found if re.fullmatch(NAME_PATTERN, name)))

    def current(self, name: str) -> Event:
        """Return the event that made the current version of a name current.

        Raises:
            Rejected: `release-withdrawn` when it was yanked and nothing took its place; and as `history`.
        """
        history = self.history(name)
        if history.current is None:
            last = history.events[-1]
            raise self._withdrawn(last)
        return history.current

    def fetch(self, name: str, version: str | None = None, *, withdrawn: bool = False) -> Fetched:
        """Return a release with all of its files.

        Args:
            name: Name of the composition.
            version: Its version; the current one when None.
            withdrawn: Whether a yanked version is read too, for an audit; never for use.

        Raises:
            Rejected: `release-withdrawn` for a yanked version; `release-missing`; `release-invalid`; what `open_seal`
                refuses; `channel-unreachable` or `channel-mixed`.
        """
        history = self.history(name)
        wanted = version if version is not None else self.current(name).version
        if wanted not in history.released:
            raise self._missing(f"{name} {wanted}")
        if wanted in history.yanked and not withdrawn:
            raise self._withdrawn(history.yanked[wanted])
        prefix = f"{name}/{wanted}/"
        sealed, subject = self._target(prefix + RELEASE_FILE), f"{self.source} {prefix}{RELEASE_FILE}"
        opened = open_seal(sealed, self._keyring, "releaser", self._now, payload_type=RELEASE_TYPE, subject=subject)
        release = read_release(opened.payload, subject=subject)
        found = digest.of_bytes(sealed)
        if (release.name, release.version, found) != (name, wanted, history.released[wanted]):
            expected = f"{name} {wanted}, {history.released[wanted]}"
            raise _mixed(subject, expected, f"{release.name} {release.version}, {found}")
        files = {}
        for file in release.files:
            files[file.path] = self._target(prefix + file.path)
            if digest.of_bytes(files[file.path]) != file.digest:
                raise _mixed(f"{self.source} {prefix}{file.path}", file.digest, digest.of_bytes(files[file.path]))
        return Fetched(release, found, opened.key_ids, files)

    def _target(self, path: str) -> bytes:
        """Return the bytes of a file that the channel's metadata name, verified against them."""
        with _refused_by_tuf(self.source):
            target = self._updater.get_targetinfo(path)
            if target is None:
                raise self._missing(path)
            if target.length > MAX_RELEASED_FILE_BYTES:
                raise _mixed(f"{self.source} {path}", f"at most {MAX_RELEASED_FILE_BYTES} bytes", str(target.length))
            hashed = target.get_prefixed_paths()[0]
            data = self._fetcher.download_bytes(f"{_address(self.source)}/{TARGETS_FOLDER}/{hashed}", target.length)
            target.verify_length_and_hashes(data)
        return data

    def _missing(self, wanted: str) -> Rejected:
        return Rejected(
            "release-missing",
            subject=self.source,
            expected=f"a release with {wanted}",
            got="nothing of the kind",
            fix=f"check the name and the version; the channel has {', '.join(self.names()) or 'no releases'}",
        )

    def _withdrawn(self, event: Event) -> Rejected:
        return Rejected(
            "release-withdrawn",
            subject=self.source,
            expected="a release that may be used",
            got=f"{event.version} was yanked at {event.at}: {event.reason}",
            fix="stop using it; its maintainers can make another version current by a release or a rollback",
        )


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
    address = _address(source)
    fetcher = _FolderFetcher() if address.startswith("file:") else Urllib3Fetcher(app_user_agent="compose")
    with durable.refused_by_disk(state):
        state.mkdir(parents=True, exist_ok=True)
    with durable.locked(state), _refused_by_tuf(source):
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
            raise _not_vouched(source)
        yield Reader(source, updater, fetcher, keyring, now)


def default_state(source: str) -> Path:
    """Return where this user's readers remember a channel: below `$COMPOSE_STATE`, or this user's state folder."""
    chosen = os.environ.get("COMPOSE_STATE", "")
    root = Path(chosen).expanduser().absolute() if chosen else platformdirs.user_state_path("compose", appauthor=False)
    return root / "channels" / digest.of_bytes(_address(source).encode()).removeprefix("sha256:")[:16]


class _FolderFetcher(FetcherInterface):
    """Reads a channel that is a folder of this machine."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url2pathname(urlsplit(url).path))
        data = read_bytes(path, max_bytes=MAX_RELEASED_FILE_BYTES, code="channel-unreachable", subject=str(path))
        if data is None:
            raise DownloadHTTPError(f"there is no {path}", 404)
        return iter((data,))


def _trusted_root(source: str, fetcher: FetcherInterface, keyring: Keyring, state: Path, now: datetime) -> bytes:
    """Return the root to start from: the one that was trusted last, or the newest one that the keyring vouches for."""
    known = state / "root.json"
    if known.exists():
        return _remembered_root(known)
    found = None
    for version in range(1, MAX_ROOTS + 1):
        address = f"{_address(source)}/{METADATA_FOLDER}/{version}.root.json"
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
        raise _not_vouched(source, none=version == 1)
    return found


def _remembered_root(path: Path) -> bytes:
    """Return the root that was trusted last."""
    data = path.read_bytes()
    try:
        Metadata[Root].from_bytes(data)
    except RepositoryError as error:
        raise _refused(
            "channel-invalid",
            str(path),
            "the root of this channel that was trusted last",
            str(error),
            "delete the folder that it is in; the channel is then met for the first time",
        ) from error
    return data


def _address(source: str) -> str:
    """Return the address of a channel, without a slash at its end."""
    if source.startswith(("http://", "https://", "file://")):
        return source.rstrip("/")
    return Path(source).absolute().as_uri()


@contextmanager
def _refused_by_tuf(source: str) -> Iterator[None]:
    """Run the block, turning what tuf refuses into our errors."""
    try:
        yield
    except ExpiredMetadataError as error:
        raise _refused(
            "channel-expired",
            source,
            "metadata that count now",
            str(error),
            "if nothing new was released, its maintainers renew it with `compose release --renew`; else you are being "
            "held back: get the channel from somewhere else",
        ) from error
    except BadVersionNumberError as error:
        raise _refused(
            "channel-rollback", source, "a channel no older than the one read before", str(error), _ELSEWHERE
        ) from error
    except UnsignedMetadataError as error:
        raise _refused(
            "channel-forged", source, "metadata that its releasers signed", str(error), _ELSEWHERE
        ) from error
    except (LengthOrHashMismatchError, DownloadLengthMismatchError) as error:
        raise _mixed(source, "files that belong together", str(error)) from error
    except RepositoryError as error:
        raise _refused("channel-invalid", source, "a TUF repository", str(error), _ELSEWHERE) from error
    except (DownloadError, HTTPError) as error:  # urllib3's own, when a connection breaks in the middle of a file
        if isinstance(error.__cause__, Rejected):
            raise error.__cause__ from error
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise _refused(
            "channel-unreachable",
            source,
            "a channel that can be read",
            f"{error}{cause}",
            "check the address and the connection; a folder must hold metadata/ and targets/",
        ) from error


_ELSEWHERE = "get the channel from somewhere else, and tell its maintainers"


def _mixed(subject: str, expected: str, got: str) -> Rejected:
    """Return the error about bytes that are not those that are meant."""
    return _refused("channel-mixed", subject, expected, got, _ELSEWHERE)


def _not_vouched(source: str, *, none: bool = False) -> Rejected:
    """Return the error about a channel of people whom the reader does not trust."""
    return _refused(
        "channel-keys",
        source,
        "a root that a releaser of your keyring has signed whose key counts now",
        "no root at all" if none else "one that nobody of them has signed",
        "check the address; if the releasers have new keys, get their keyring and `compose keys import` it",
    )


def _refused(code: str, subject: str, expected: str, got: str, fix: str) -> Rejected:
    return Rejected(code, subject=subject, expected=expected, got=got, fix=fix)
