"""Writing that is finished or never happened: files and folders appear whole, locked where two may write.

Everything is written beside its destination under a temporary name, flushed to the disk and renamed. A crash
or Ctrl-C leaves at most a temporary that `sweep` removes, never half a result under the real name.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from compose.errors import Rejected

TEMPORARY_PREFIX = ".compose-tmp-"
"""Temporaries are called `.compose-tmp-<host>-<process>-<random>`, so that one can see whose they are."""
_ASIDE = "-of-"
"""What follows this in a temporary's name is the name of the folder that was moved aside to be replaced."""
_FULL_DISK_SIGNS = ("os error 28", "os error 122", "PytorchStreamWriter failed")
"""In what words safetensors (ENOSPC, EDQUOT) and torch.save say that a file could not be written."""
STALE_AFTER_S = 24 * 3600.0
"""Where the owner cannot be asked (another host on a shared disk), a temporary this old has been given up."""


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write `data` to `path`, so that a reader sees the old file or the new one and nothing between.

    Args:
        path: The file.
        data: All of its bytes.
        private: Whether its owner alone may read it, at every moment of the writing too.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    with refused_by_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_own_prefix(), dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not private:
                temporary.chmod(0o666 & ~_umask())  # mkstemp makes 0600
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # it is gone when it was renamed
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON value to `path` with sorted keys, one indent and a final newline: stable under `git diff`.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
        ValueError: The value holds NaN or an infinity.
    """
    write_text(path, json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block succeeds and vanishes when it fails.

    Args:
        path: The folder to make.
        replace: Whether a folder that is already there is exchanged for the new one.

    Raises:
        Rejected: `already-exists` when `path` is there and `replace` is off; `disk-full` or `read-only` when
            the disk refuses.
    """
    if path.exists() and not replace:
        raise _already_exists(path)
    with refused_by_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        with refused_by_disk(path, permissions=False):  # the block may read files of others: not our message
            yield temporary
            _settle(temporary)
        with refused_by_disk(path):
            _rename_folder(temporary, path, replace=replace)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # it is gone when it was renamed


@contextmanager
def locked(path: Path, *, timeout_s: float = -1.0, waiting_for: str = "") -> Iterator[None]:
    """Hold the lock of `path` for the block, so that of several processes one works and the others wait.

    Args:
        path: What is protected; the lock is the file `<path>.lock` beside it and stays there.
        timeout_s: How long to wait for another holder; negative waits for ever.
        waiting_for: What the holder does, said on stderr once when there is something to wait for.

    Raises:
        Rejected: `locked` when another process held the lock all the time; `read-only` or `disk-full`.
    """
    lock_file = path.with_name(path.name + ".lock")
    with refused_by_disk(lock_file):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if waiting_for and timeout_s != 0:
                    print(f"waiting for {waiting_for}", file=sys.stderr)
                lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise Rejected(
                "locked",
                subject=str(path),
                expected="no other process at work on it",
                got=f"another process has held {lock_file.name} for {timeout_s:g} s",
                fix="wait for the other process, or stop it, and try again",
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty temporary folder inside `parent` that is removed after the block, come what may.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    with refused_by_disk(parent):
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=parent))
    try:
        with refused_by_disk(parent, permissions=False):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into_place(finished: Path, target: Path) -> None:
    """Flush a finished file and rename it to `target` on the same disk, over an old one if there is one.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    with refused_by_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sync_file(finished)
        finished.replace(target)
        _sync_folder(target.parent)


def sweep(folder: Path) -> int:
    """Return how many temporaries of interrupted writers were removed from `folder` (not below it).

    One whose owner is alive on this host stays; one of another host stays for `STALE_AFTER_S`. A folder that was moved
    aside, and whose successor never came, is put back.
    """
    removed = 0
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*") if folder.is_dir() else ():
        if not _abandoned(leftover):
            continue
        _, moved, name = leftover.name.partition(_ASIDE)
        if moved and not (folder / name).exists():
            leftover.rename(folder / name)
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        removed += 1
    return removed


@contextmanager
def refused_by_disk(path: Path, *, permissions: bool = True) -> Iterator[None]:
    """Run the block, turning what a full or read-only disk raises into a `Rejected` that names `path`.

    Args:
        path: What is being written.
        permissions: Whether EACCES and EPERM are taken for a place that may not be written to.

    Raises:
        Rejected: `disk-full` for ENOSPC and EDQUOT, `read-only` for EROFS, EACCES and EPERM.
    """
    forbidden = (errno.EROFS, errno.EACCES, errno.EPERM) if permissions else (errno.EROFS,)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path, str(error.strerror)) from error
        if error.errno in forbidden:
            raise Rejected(
                "read-only",
                subject=str(error.filename or path),
                expected="a place that this user may write to",
                got=str(error.strerror),
                fix="choose another place (COMPOSE_CACHE for caches), or get the right to write here",
            ) from error
        raise
    except Exception as error:
        # safetensors and torch.save report a full disk in words of their own, as exceptions of their own.
        said = str(error)
        if not any(sign in said for sign in _FULL_DISK_SIGNS):
            raise
        raise _disk_full(path, said.splitlines()[0]) from error


def _disk_full(path: Path, got: str) -> Rejected:
    """Return the error about a disk, or a quota, without room."""
    return Rejected(
        "disk-full",
        subject=str(path),
        expected="room on the disk for what is written here",
        got=f"{got} ({_free_space(path)})",
        fix="free some space, or choose another place (COMPOSE_CACHE for caches), and run the same "
        "command again: what was finished is kept",
    )


def _rename_folder(temporary: Path, path: Path, *, replace: bool) -> None:
    """Rename the finished folder into place; an old one is moved aside first and removed last."""
    if not path.exists():
        temporary.rename(path)
        return
    if not replace:  # another process was faster
        raise _already_exists(path)
    aside = path.with_name(f"{_own_prefix()}{secrets.token_hex(6)}{_ASIDE}{path.name}")
    try:
        path.rename(aside)
        temporary.rename(path)
    except BaseException:  # Ctrl-C too: between the two names there is no folder
        if not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _already_exists(path: Path) -> Rejected:
    """Return the error that says `path` is taken."""
    return Rejected(
        "already-exists",
        subject=str(path),
        expected="a name that is still free",
        got="a file or folder of that name",
        fix="choose another name, or ask for the old one to be replaced",
    )


def _settle(folder: Path) -> None:
    """Flush every file of a folder, because a rename that outlives a power cut must not outlive its contents.

    Files that a library wrote for this user's eyes only get the rights that the folder got.
    """
    readable = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | readable)
            _sync_file(path)
    _sync_folder(folder)


def _sync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of names; some file systems cannot, and then the rename alone must do."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _own_prefix() -> str:
    """Return how the names of this process's temporaries begin."""
    return f"{TEMPORARY_PREFIX}{_host()}-{os.getpid()}-"


def _host() -> str:
    """Return this machine's name without dashes, which separate the parts of a temporary's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname())


def _abandoned(leftover: Path) -> bool:
    """Return whether nobody will finish this temporary."""
    host, _, rest = leftover.name.removeprefix(TEMPORARY_PREFIX).partition("-")
    process = rest.partition("-")[0]
    if os.name == "posix" and host == _host() and process.isdecimal():
        try:
            os.kill(int(process), 0)  # signal 0 asks and does nothing
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
    try:
        return time.time() - leftover.lstat().st_mtime > STALE_AFTER_S
    except FileNotFoundError:  # its owner finished between the listing and the look
        return False


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _free_space(path: Path) -> str:
    """Return how much room the disk under `path` has, for an error message."""
    for folder in path.parents:
        if folder.is_dir():
            return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free under {folder}"
    return "free space unknown"
