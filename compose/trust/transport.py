"""How a channel's files are fetched, from a folder or a web server, and how tuf's refusals become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

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
from tuf.ngclient import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3.exceptions import HTTPError

from compose.errors import Rejected
from compose.plain_file import read_bytes
from compose.trust.release import MAX_RELEASED_FILE_BYTES

ELSEWHERE = "get the channel from somewhere else, and tell its maintainers"


def address_of(source: str) -> str:
    """Return the address of a channel, without a slash at its end."""
    if source.startswith(("http://", "https://", "file://")):
        return source.rstrip("/")
    return Path(source).absolute().as_uri()


def fetcher_for(address: str) -> FetcherInterface:
    """Return what fetches the files below an address."""
    return _FolderFetcher() if address.startswith("file:") else Urllib3Fetcher(app_user_agent="compose")


@contextmanager
def refused_by_tuf(source: str) -> Iterator[None]:
    """Run the block, turning what tuf refuses into our errors.

    Raises:
        Rejected: `channel-expired`, `channel-rollback`, `channel-forged`, `channel-mixed`, `channel-invalid` or
            `channel-unreachable`.
    """
    try:
        yield
    except ExpiredMetadataError as error:
        raise refused(
            "channel-expired",
            source,
            "metadata that count now",
            str(error),
            "if nothing new was released, its maintainers renew it with `compose release --renew`; else you are being "
            "held back: get the channel from somewhere else",
        ) from error
    except BadVersionNumberError as error:
        raise refused(
            "channel-rollback", source, "a channel no older than the one read before", str(error), ELSEWHERE
        ) from error
    except UnsignedMetadataError as error:
        raise refused("channel-forged", source, "metadata that its releasers signed", str(error), ELSEWHERE) from error
    except (LengthOrHashMismatchError, DownloadLengthMismatchError) as error:
        raise mixed(source, "files that belong together", str(error)) from error
    except RepositoryError as error:
        raise refused("channel-invalid", source, "a TUF repository", str(error), ELSEWHERE) from error
    except (DownloadError, HTTPError) as error:  # urllib3's own, when a connection breaks in the middle of a file
        if isinstance(error.__cause__, Rejected):
            raise error.__cause__ from error
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise refused(
            "channel-unreachable",
            source,
            "a channel that can be read",
            f"{error}{cause}",
            "check the address and the connection; a folder must hold metadata/ and targets/",
        ) from error


def mixed(subject: str, expected: str, got: str) -> Rejected:
    """Return the error about bytes that are not those that are meant."""
    return refused("channel-mixed", subject, expected, got, ELSEWHERE)


def refused(code: str, subject: str, expected: str, got: str, fix: str) -> Rejected:
    """Return an error about a channel."""
    return Rejected(code, subject=subject, expected=expected, got=got, fix=fix)


class _FolderFetcher(FetcherInterface):
    """Reads a channel that is a folder of this machine."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url2pathname(urlsplit(url).path))
        data = read_bytes(path, max_bytes=MAX_RELEASED_FILE_BYTES, code="channel-unreachable", subject=str(path))
        if data is None:
            raise DownloadHTTPError(f"there is no {path}", 404)
        return iter((data,))
