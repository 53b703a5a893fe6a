"""The bytes of a plain file, read once: no link, no pipe, no file that grows, nothing over its cap."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from compose.errors import Rejected

RIGHTS_OF_OTHERS = 0o077


def read_bytes(
    name: str | Path, *, max_bytes: int, code: str, subject: str, folder: int | None = None, private: bool = False
) -> bytes | None:
    """Return the bytes of a plain file, or None when there is none of that name.

    Args:
        name: Its path; with `folder` its name in that folder.
        max_bytes: A larger file is refused unread.
        code: Code of the error.
        subject: What the file is called in the error.
        folder: Handle of an open folder.
        private: Whether nobody but its owner may have any right on it.

    Raises:
        Rejected: `code`, for anything but a plain file of sane size that nobody is writing to; `key-permissions` for a
            private one on which group or others have a right.
    """
    try:
        # NOFOLLOW refuses a link, NONBLOCK keeps a FIFO from blocking us for ever.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError for a NUL in the name
        raise unreadable(subject, getattr(error, "strerror", None) or str(error), code=code) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise unreadable(subject, "something that is no plain file", code=code)
        if private and status.st_mode & RIGHTS_OF_OTHERS:
            raise _too_open(subject, status.st_mode)
        if status.st_size > max_bytes:
            raise unreadable(subject, f"{status.st_size} bytes, more than {max_bytes}", code=code)
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(status.st_size + 1)
    except OSError as error:
        raise unreadable(subject, str(error.strerror), code=code) from error
    finally:
        os.close(handle)
    if len(data) != status.st_size:
        got = f"{status.st_size} bytes when it was opened and other bytes when it was read"
        raise unreadable(subject, got, code=code)
    return data


def unreadable(subject: str, got: str, *, code: str) -> Rejected:
    """Return the error about something else in the place of a file."""
    return Rejected(
        code,
        subject=subject,
        expected="a plain file of the usual size that nobody is writing to",
        got=got,
        fix="see that you may read it; if it is a link, as in download caches, copy it with cp -rL",
    )


def _too_open(subject: str, mode: int) -> Rejected:
    """Return the error about a private key that others may use."""
    return Rejected(
        "key-permissions",
        subject=subject,
        expected="a file that its owner alone may read: mode 0600",
        got=f"mode {stat.S_IMODE(mode):04o}",
        fix="take it for known to others: revoke the key and make a new one; or, if nobody else was here, chmod 600",
    )
