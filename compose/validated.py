"""Plain mappings to settings records, with an error that names the nearest key a typo may have meant."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from compose.errors import Rejected

Record = TypeVar("Record")


def validated(record: type[Record], values: object, *, subject: str) -> Record:
    """Return the settings record that `values` describe.

    Args:
        record: A pydantic dataclass made with `compose.records.SETTINGS`.
        values: What was read from a file: a mapping of field names.
        subject: The file, for the error.

    Raises:
        Rejected: `settings-invalid`, naming every wrong key and, for an unknown one, the nearest known key.
    """
    if not isinstance(values, Mapping):
        raise _invalid(subject, f"a mapping with the keys of {record.__name__}", type(values).__name__, "see conf/")
    try:
        return TypeAdapter(record).validate_python(dict(values))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    found = "; ".join(_fault(fault) for fault in faults)
    unknown = [fault for fault in faults if fault["type"] == "unexpected_keyword_argument"]
    fix = "; ".join(_nearest(str(fault["loc"][-1]), record) for fault in unknown) or "correct the values"
    raise _invalid(subject, f"valid settings for {record.__name__}", found, fix)


def _fault(fault: Any) -> str:
    """Return one fault as `key: message (value)`."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "unexpected_keyword_argument":
        return f"unknown key {place!r}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"no key {place!r}"
    if fault["type"] == "value_error" and isinstance(fault["input"], Mapping):
        return str(fault["msg"])  # a rule over several keys: the whole record would drown it
    return f"{place}: {fault['msg']}, not {fault['input']!r:.80}"


def _nearest(key: str, record: type[Any]) -> str:
    """Return the advice for one unknown key."""
    known = sorted(_keys(record))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{key!r} may mean {near[0]!r}" if near else f"the keys are {', '.join(known)}"


def _keys(kind: Any) -> set[str]:
    """Return the field names of a record and of the records inside it."""
    if get_origin(kind) is Annotated:
        return _keys(get_args(kind)[0])  # what follows are constraints, which are records too
    if not dataclasses.is_dataclass(kind):
        return {key for inner in get_args(kind) for key in _keys(inner)}
    hints = get_type_hints(kind, include_extras=True)
    return set(hints) | {key for hint in hints.values() for key in _keys(hint)}


def _invalid(subject: str, expected: str, got: str, fix: str) -> Rejected:
    """Return the error with its code."""
    return Rejected("settings-invalid", subject=subject, expected=expected, got=got, fix=fix)
