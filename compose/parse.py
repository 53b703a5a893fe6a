"""JSON claims: bounded bytes in, one strict record out, and back. The only reader of claims.

Rules, in the order they are applied: a cap on the bytes; UTF-8 without a byte-order mark; no key twice in an
object (pydantic would take the last); no NaN, infinity or number that overflows; no unknown key and no
coercion; and for a card, the digest it carries of itself, so that a damaged byte is noticed wherever it
falls.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from compose import digest
from compose.errors import Rejected
from compose.records import Claim, PatchCard

MAX_CARD_BYTES = 1024 * 1024
MAX_INTEGER_DIGITS = 20
SEAL = "card_digest"
MAX_FINDINGS = 8
MAX_SHOWN_CHARACTERS = 60

Record = TypeVar("Record", bound=Claim)
Place = Callable[[Sequence[str | int]], str]


def strict_json(data: bytes, *, subject: str, code: str, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object that `data` spells.

    Args:
        data: The bytes, all of them.
        subject: What they are, for the error.
        code: Code of the error.
        max_bytes: More than this is refused unread.

    Raises:
        Rejected: `code`, when `data` is too long, is no UTF-8 JSON object, repeats a key, nests too deep, or
            holds a number that is not finite.
    """
    expected = f"one JSON object in UTF-8, at most {max_bytes} bytes, no key twice, every number finite"
    fix = "get the file again from whoever made it, or make it again"
    if len(data) > max_bytes:
        raise Rejected(code, subject=subject, expected=expected, got=f"{len(data)} bytes", fix=fix)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        digest.canonical_json(value)  # strings that are no Unicode text (lone surrogates) end here
    except RecursionError as error:
        raise Rejected(code, subject=subject, expected=expected, got="nesting without end", fix=fix) from error
    except ValueError as error:  # malformed JSON, bad UTF-8, and the four hooks
        raise Rejected(code, subject=subject, expected=expected, got=str(error), fix=fix) from error
    if not isinstance(value, dict):
        raise Rejected(code, subject=subject, expected=expected, got=f"a JSON {type(value).__name__}", fix=fix)
    return value


def make_record(model: type[Record], fields: Mapping[str, object], *, subject: str, code: str) -> Record:
    """Return the record that `fields` (Python values) describe.

    Raises:
        Rejected: `code`, with every finding and, for an unknown key, the nearest valid one.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise _refused(model, error, subject=subject, code=code) from error


def read_record(
    model: type[Record], fields: Mapping[str, Any], *, subject: str, code: str, place: Place = lambda keys: ""
) -> Record:
    """Return the record that `fields`, an object from `strict_json`, describe: JSON's lists are its tuples.

    Args:
        model: Class of the record.
        fields: Its fields.
        subject: What they came from, for the error.
        code: Code of the error.
        place: Where a value stands in the text that people see, for instance "line 3, column 1: ".

    Raises:
        Rejected: `code`, as `make_record`.
    """
    try:
        # What Python's parser understood is what pydantic gets: two parsers cannot disagree about one text.
        return model.model_validate_json(digest.canonical_json(fields))
    except ValidationError as error:
        raise _refused(model, error, subject=subject, code=code, place=place) from error


def read_card(data: bytes, *, subject: str = "patch.json") -> PatchCard:
    """Return the card that `data` spells, its own digest checked.

    Raises:
        Rejected: `card-invalid`.
    """
    fields = strict_json(data, subject=subject, code="card-invalid", max_bytes=MAX_CARD_BYTES)
    seal = fields.pop(SEAL, None)
    actual = digest.of_json(fields)
    card = read_record(PatchCard, fields, subject=subject, code="card-invalid")
    if seal != actual:
        raise Rejected(
            "card-invalid",
            subject=subject,
            expected=f"{SEAL} {actual}, the digest of the card's other keys",
            got="no such key" if seal is None else _shown(seal),
            fix="get the file again; to change a card on purpose, save the patch with a revised card",
        )
    return card


def card_bytes(card: PatchCard) -> bytes:
    """Return the bytes of patch.json: the card as canonical JSON, with its own digest.

    Raises:
        Rejected: `card-invalid`, when the card is larger than a reader accepts.
    """
    fields = card.model_dump(mode="json")
    data = digest.canonical_json({**fields, SEAL: digest.of_json(fields)}) + b"\n"
    if len(data) > MAX_CARD_BYTES:
        raise Rejected(
            "card-invalid",
            subject=f"card of {card.name}",
            expected=f"at most {MAX_CARD_BYTES} bytes",
            got=f"{len(data)} bytes",
            fix="keep large tables in the run's records and only their summary in metrics and training",
        )
    return data


def card_digest(card: PatchCard) -> str:
    """Return the digest of everything a card says."""
    return digest.of_json(card.model_dump(mode="json"))


def revise(card: PatchCard, **changes: object) -> PatchCard:
    """Return `card` with some fields changed, checked like a new one (pydantic's own copy checks nothing).

    Raises:
        Rejected: `card-invalid`.
    """
    fields = {name: getattr(card, name) for name in PatchCard.model_fields}
    return make_record(PatchCard, {**fields, **changes}, subject=f"card of {card.name}", code="card-invalid")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as an object, refusing a key that comes twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {_shown(key)} twice")
        found[key] = value
    return found


def _no_constant(text: str) -> float:
    """Refuse NaN, Infinity and -Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{text}, which is no JSON number")


def _finite(text: str) -> float:
    """Return a float, refusing one such as 1e400 that overflows to infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {_shown(text)}, which overflows")
    return value


def _bounded(text: str) -> int:
    """Return an integer, refusing one of thousands of digits before it costs time."""
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(text)} characters")
    return int(text)


def _refused(
    model: type[Claim], error: ValidationError, *, subject: str, code: str, place: Place = lambda keys: ""
) -> Rejected:
    """Return pydantic's findings as one error that names the nearest valid key for each unknown one."""
    details = error.errors(include_url=False, include_context=False)
    faulty = [detail["loc"] for detail in details]
    # pydantic leaves a wrong item out and then counts the rest: a list "too short" for no fault of its own.
    details = [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in faulty)
    ]
    findings = []
    for detail in details[:MAX_FINDINGS]:
        line = place(detail["loc"])
        where = ".".join(str(part) for part in detail["loc"]) or "the record"
        if detail["type"] == "extra_forbidden":
            findings.append(line + _unknown_key(where, str(detail["loc"][-1]), sorted(set(_field_names(model)))))
        elif detail["type"] == "missing":
            findings.append(f"{line}{_shown(where)} is missing")
        else:
            got = f" (got {_shown(detail['input'])})" if detail["loc"] else ""
            findings.append(f"{line}{_shown(where)}: {detail['msg'].removeprefix('Value error, ')}{got}")
    if len(details) > MAX_FINDINGS:
        findings.append(f"and {len(details) - MAX_FINDINGS} more")
    return Rejected(
        code,
        subject=subject,
        expected=f"a valid {model.__name__}",
        got="; ".join(findings),
        fix="correct the keys and values named above",
    )


def _unknown_key(where: str, key: str, known: list[str]) -> str:
    """Return the finding about an unknown key."""
    nearest = difflib.get_close_matches(key[:MAX_SHOWN_CHARACTERS], known, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else f", the valid ones are {', '.join(known)}"
    return f"unknown key {_shown(where)}{hint}"


def _field_names(annotation: object) -> Iterable[str]:
    """Return the names of all fields in a model and in the models within it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from _field_names(field.annotation)
    for part in get_args(annotation):
        yield from _field_names(part)


def _shown(value: object) -> str:
    """Return a stranger's value as short ASCII."""
    text = ascii(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."
