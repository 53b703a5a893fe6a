"""manifest.toml: bounded bytes in, one strict manifest out, every error with its line and column.

The text is TOML in UTF-8 and nothing else: no byte-order mark, no control or direction-changing character even in a
comment, no date, no number that is not finite. Nothing in it is ever expanded, imported or looked up.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compose import plain_file
from compose.errors import Rejected
from compose.parse import read_record
from compose.records import FORBIDDEN_TEXT
from compose.trust.claims import Manifest

MAX_MANIFEST_BYTES = 64 * 1024
MAX_LOOKS = 64
"""So many places of the text are tried for the line of one error; after that it goes without."""

Key = str | int


def read_manifest_file(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        Rejected: `manifest-invalid`.
    """
    data = plain_file.read_bytes(path, max_bytes=MAX_MANIFEST_BYTES, code="manifest-invalid", subject=str(path))
    if data is None:
        raise Rejected(
            "manifest-invalid",
            subject=str(path),
            expected="a manifest",
            got="no such file",
            fix="check the path, or write one with `compose init`",
        )
    return read_manifest(data, subject=str(path))


def read_manifest(data: bytes, *, subject: str = "manifest.toml") -> Manifest:
    """Return the manifest that `data` spells.

    Raises:
        Rejected: `manifest-invalid`, with every finding's line and column and, for an unknown key, the nearest valid
            one.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise _invalid(subject, f"{len(data)} bytes")
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _invalid(subject, f"line {line}: bytes that are no UTF-8") from error
    control = FORBIDDEN_TEXT.search(text)
    if control is not None:
        raise _invalid(subject, f"{_at(text, control.start())}the control character {control.group()!a}")
    try:
        fields = tomllib.loads(text)
    except RecursionError as error:
        raise _invalid(subject, "nesting without end") from error
    except ValueError as error:  # malformed TOML, and integers of thousands of digits
        raise _invalid(subject, ascii(str(error))[1:-1]) from error
    strange = next(_not_json(fields), None)
    if strange is not None:
        keys, got = strange
        raise _invalid(subject, f"{_place(text, fields, keys)}{'.'.join(map(str, keys))} is {got}")
    return read_record(
        Manifest, fields, subject=subject, code="manifest-invalid", place=lambda keys: _place(text, fields, keys)
    )


def _not_json(value: Any, keys: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Yield the keys of every value that JSON could not hold, and what it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_json(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, (*keys, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield keys, f"{value}, which is no finite number"
    elif not isinstance(value, str | bool | int | float):
        yield keys, f"a {type(value).__name__}, where text or a number is expected"


def _place(text: str, fields: dict[str, Any], keys: Sequence[Key]) -> str:
    """Return "line L, column C: " of the innermost of `keys` that the text holds, or nothing when it is not found."""
    known = list(keys)
    while known and not _holds(fields, known):
        known.pop()  # a key that is missing, and pydantic's names for the kinds that a value may have
    at = _find(text, known)
    return "" if at is None else _at(text, at)


def _find(text: str, keys: Sequence[Key]) -> int | None:
    """Return where a key is written: on the line with which the text, read from its start, begins to hold it."""
    word = next((key for key in reversed(keys) if isinstance(key, str)), None)
    if word is None:
        return None
    lines = text.split("\n")
    looks = 0
    for match in re.finditer(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text):
        first = text.count("\n", 0, match.start())
        for last in range(first + 1, len(lines) + 1):
            looks += 1
            if looks > MAX_LOOKS:
                return None
            read = _read("\n".join(lines[:last]))
            if read is None:
                continue  # the value goes on on the next line
            if _holds(read, keys) and not _holds(_read("\n".join(lines[:first])) or {}, keys):
                return match.start()
            break
    return None


def _read(text: str) -> dict[str, Any] | None:
    """Return what the beginning of a manifest holds, or None when it breaks off within a value."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _holds(value: Any, keys: Sequence[Key]) -> bool:
    """Return whether a path of keys and indices leads to a value."""
    for key in keys:
        there = isinstance(value, dict) and key in value
        if not there and not (isinstance(value, list) and isinstance(key, int) and key < len(value)):
            return False
        value = value[key]
    return True


def _at(text: str, offset: int) -> str:
    """Return "line L, column C: ", both counted from 1."""
    return f"line {text.count(chr(10), 0, offset) + 1}, column {offset - text.rfind(chr(10), 0, offset)}: "


def _invalid(subject: str, got: str) -> Rejected:
    """Return the error about a manifest as a text."""
    return Rejected(
        "manifest-invalid",
        subject=subject,
        expected=f"TOML in UTF-8, at most {MAX_MANIFEST_BYTES} bytes, plain text and finite numbers",
        got=got,
        fix="correct the line, or write a new manifest with `compose init`",
    )
