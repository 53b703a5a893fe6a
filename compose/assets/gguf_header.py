"""The metadata at the head of a GGUF file, read by hand: transformers keeps some of it to itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from compose.errors import Rejected

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value types of the format that have one fixed size, as `struct` codes (little-endian)."""
STRING, ARRAY = 8, 9
MAX_TEXT_BYTES = 1 << 24
"""Longest string that is believed: chat templates have some kilobytes."""


def read_metadata(gguf_file: Path) -> dict[str, str | int | float | bool]:
    """Return the single values among a GGUF file's metadata by their keys; arrays are passed over.

    Raises:
        Rejected: `asset-digest`, when the file is no GGUF of version 2 or 3, or its head is damaged.
    """
    with gguf_file.open("rb") as file:
        try:
            if file.read(4) != b"GGUF":
                raise ValueError("other bytes at its beginning")
            version = _scalar(file, "I")
            if version not in (2, 3):
                raise ValueError(f"version {version}")
            _scalar(file, "Q")  # number of tensors
            return _pairs(file, int(_scalar(file, "Q")))
        except (ValueError, struct.error, KeyError) as error:
            raise Rejected(
                "asset-digest",
                subject=str(gguf_file),
                expected="a GGUF file of version 2 or 3",
                got=str(error),
                fix="correct `member`, `file` or `path` in the model's settings, or fetch the file again",
            ) from error


def _pairs(file: BinaryIO, count: int) -> dict[str, str | int | float | bool]:
    """Return the keys with single values among the next `count` pairs."""
    found: dict[str, str | int | float | bool] = {}
    for _ in range(count):
        key = _text(file)
        kind = int(_scalar(file, "I"))
        if kind == ARRAY:
            _pass_over_array(file)
        elif kind == STRING:
            found[key] = _text(file)
        else:
            found[key] = _scalar(file, SCALARS[kind])
    return found


def _pass_over_array(file: BinaryIO) -> None:
    """Move behind an array of scalars or strings, the only arrays in use."""
    kind = int(_scalar(file, "I"))
    count = int(_scalar(file, "Q"))
    if kind != STRING:
        file.seek(count * struct.calcsize(SCALARS[kind]), 1)
        return
    for _ in range(count):
        file.seek(int(_scalar(file, "Q")), 1)


def _text(file: BinaryIO) -> str:
    """Return the string at this place: its length in bytes, then UTF-8."""
    length = int(_scalar(file, "Q"))
    if length > MAX_TEXT_BYTES:
        raise ValueError(f"a string of {length} bytes")
    return file.read(length).decode("utf-8")


def _scalar(file: BinaryIO, code: str) -> int | float | bool:
    """Return the number at this place."""
    value: int | float | bool = struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]
    return value
