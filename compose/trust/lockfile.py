"""compose.lock: canonical JSON that names its own digest. Only the bytes that the writer would write are accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compose import durable, plain_file
from compose.errors import Rejected
from compose.parse import read_record, strict_json
from compose.trust.claims import Lock, lock_digest

LOCK_FILE = "compose.lock"
MAX_LOCK_BYTES = 256 * 1024
SEAL = "lock_digest"


def lock_bytes(lock: Lock) -> bytes:
    """Return the bytes of a lock's file: sorted keys, one indent, its own digest, a final newline.

    Raises:
        Rejected: `lock-invalid`, when it is larger than a reader accepts.
    """
    fields = {**lock.model_dump(mode="json"), SEAL: lock_digest(lock)}
    data = (json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    if len(data) > MAX_LOCK_BYTES:
        raise _invalid(lock.name, got=f"{len(data)} bytes", fix="compose fewer patches at once")
    return data


def read_lock(data: bytes, *, subject: str = LOCK_FILE) -> Lock:
    """Return the lock that `data` spells.

    Raises:
        Rejected: `lock-invalid`, when it is malformed, was edited, or is spelled in another way.
    """
    fields: dict[str, Any] = strict_json(data, subject=subject, code="lock-invalid", max_bytes=MAX_LOCK_BYTES)
    seal = fields.pop(SEAL, None)
    lock = read_record(Lock, fields, subject=subject, code="lock-invalid")
    if seal != lock_digest(lock):
        raise _invalid(subject, got=f"a lock whose digest is {lock_digest(lock)} and that names {ascii(seal)[:80]}")
    if data != lock_bytes(lock):
        raise _invalid(subject, got="another spelling of the same lock")
    return lock


def read_lock_file(path: Path) -> Lock:
    """Return the lock in a file.

    Raises:
        Rejected: `lock-invalid`.
    """
    data = plain_file.read_bytes(path, max_bytes=MAX_LOCK_BYTES, code="lock-invalid", subject=str(path))
    if data is None:
        raise _invalid(
            str(path), got="no such file", fix="check the path, or make it with `compose lock manifest.toml`"
        )
    return read_lock(data, subject=str(path))


def write_lock_file(path: Path, lock: Lock) -> None:
    """Write a lock, whole or not at all.

    Raises:
        Rejected: `lock-invalid`; `disk-full` or `read-only`, when the disk refuses.
    """
    durable.write_bytes(path, lock_bytes(lock))


def _invalid(
    subject: str, *, got: str, fix: str = "make it again with `compose lock`; it is not edited by hand"
) -> Rejected:
    """Return the error about a lock's file."""
    expected = f"a lock as `compose lock` writes it, at most {MAX_LOCK_BYTES} bytes"
    return Rejected("lock-invalid", subject=subject, expected=expected, got=got, fix=fix)
