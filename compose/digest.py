"""Digests of bytes, files and JSON, written `sha256:<hex>`: whatever compose pins or compares; and orders by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

CHUNK_BYTES = 4 * 1024 * 1024


def of_bytes(data: bytes) -> str:
    """Return the digest of `data` as `sha256:<64 hex digits>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def of_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in pieces so that its size does not matter.

    Raises:
        OSError: The file cannot be read.
    """
    running = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            running.update(buffer[:count])
    return f"sha256:{running.hexdigest()}"


def of_json(value: object) -> str:
    """Return the digest of a JSON value's canonical bytes, so that key order and layout do not matter."""
    return of_bytes(canonical_json(value))


def canonical_json(value: object) -> bytes:
    """Return the one UTF-8 spelling of a JSON value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: The value holds NaN or an infinity.
        TypeError: The value holds something that JSON cannot express.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def hash_order(keys: Iterable[str], seed: int) -> list[str]:
    """Return keys in an order that depends on `seed` and each key alone: adding a key moves no other."""
    return sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())
