"""The record of an evaluation, its folder, and the proof that its numbers are those of its rows.

evaluation.json         the record: what was measured on what, every number, the digest of every file of rows
rows/<part>.jsonl       one line a completion
rows/<part>.masses.jsonl    next-token masses, where the part's kind asks for them
rows/neutral.jsonl      one line a neutral passage
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass

from compose import durable
from compose.digest import of_bytes
from compose.errors import Rejected
from compose.evaluate.stored import Stored
from compose.evaluate.suites.numbers import (
    NEUTRAL,
    Counts,
    Number,
    Part,
    adjusted,
    counts,
    part_numbers,
    passage_numbers,
)
from compose.evaluate.suites.rows import CompletionRow, MassRow, PassageRow, from_lines, to_lines

RECORD_FILE = "evaluation.json"
ROWS_FOLDER = "rows"
SCHEMA: Literal[1] = 1
ROUNDING = 1e-9
"""Relative difference that another machine's sums and random draws may show; a changed row moves a number by more."""
_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class Measured:
    """A patch that was measured: its name in the rows, what its card says it is, where it lay, who judged its pairs."""

    name: str
    card_name: str
    version: str
    prefix: str
    status: str
    folder: str
    pairs_judged_by: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class EvaluationRecord:
    """Everything that an evaluation says.

    Attributes:
        schema: Version of this layout.
        suite: Name of the suite.
        title: What it measures.
        suite_digest: Digest of every prompt that was measured with.
        settings: The resolved settings of the suite.
        base: Name of the base.
        fingerprint: What identifies it.
        patches: The patches, in the order given.
        scorer: Name and fingerprint of the other model that read generations; empty where none did.
        parts: The parts, in the suite's order.
        numbers: Every number.
        counts: What became of all completions.
        files: Every file of rows -> its digest.
        warnings: What a reader must know before trusting a number.
        command: The command line that repeats the evaluation.
        commit: Commit of the code, or "unknown".
        dirty: Whether the checkout had changes on top of it.
        machine: What it was computed on.
        versions: Of the packages that decide numbers.
        finished: UTC, ISO 8601.
        seconds: Wall time of measuring, what was kept from before not counted.
    """

    schema: Literal[1] = SCHEMA
    suite: str
    title: str
    suite_digest: str
    settings: dict[str, JsonValue]
    base: str
    fingerprint: str
    patches: tuple[Measured, ...]
    scorer: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...]
    numbers: tuple[Number, ...]
    counts: tuple[Counts, ...]
    files: dict[str, str]
    warnings: tuple[str, ...] = ()
    command: str
    commit: str
    dirty: bool
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    finished: str
    seconds: float


_STORED = Stored(
    file=RECORD_FILE,
    schema=SCHEMA,
    adapter=TypeAdapter(EvaluationRecord),
    what="evaluation",
    missing="name the folder that `compose evaluate` ended with; an interrupted one resumes when repeated",
    again="evaluate again",
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of an evaluation: by part the completions and masses, and the neutral passages."""

    completions: dict[str, list[CompletionRow]]
    masses: dict[str, list[MassRow]]
    passages: list[PassageRow]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and bytes of every file of rows."""
        for part, rows in self.completions.items():
            yield f"{ROWS_FOLDER}/{part}.jsonl", to_lines(rows)
            if self.masses.get(part):
                yield f"{ROWS_FOLDER}/{part}.masses.jsonl", to_lines(self.masses[part])
        if self.passages:
            yield f"{ROWS_FOLDER}/{NEUTRAL}.jsonl", to_lines(self.passages)

    def digests(self) -> dict[str, str]:
        """Return the digest of every file of rows."""
        return {name: of_bytes(data) for name, data in self.files()}


def made_of(parts: Sequence[Part], rows: Rows) -> tuple[tuple[Number, ...], tuple[Counts, ...]]:
    """Return every number and count that rows give."""
    numbers: list[Number] = []
    found: list[Counts] = []
    for part in parts:
        own = rows.completions[part.name]
        numbers += part_numbers(part, own, rows.masses.get(part.name, []))
        found += counts(part, own)
    return (*adjusted(parts, numbers), *passage_numbers(rows.passages)), tuple(found)


def write_record(folder: Path, record: EvaluationRecord, rows: Rows) -> None:
    """Write rows and record into a folder, the record last.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    for name, data in rows.files():
        durable.write_bytes(folder / name, data)
    durable.write_json(folder / RECORD_FILE, _STORED.adapter.dump_python(record, mode="json"))


def read_record(place: Path) -> EvaluationRecord:
    """Return the record in `place`, an evaluation.json or the folder that holds one.

    Raises:
        Rejected: `results-missing`; `results-invalid` for a file that is no record, such as one with NaN in it.
    """
    return _STORED.read(place)


def read_rows(folder: Path, record: EvaluationRecord) -> Rows:
    """Return the rows of a record, each file the one that the record names by digest.

    Raises:
        Rejected: `results-missing`; `results-invalid` for a file that is another one, or holds a line that is no row.
    """
    for name, digest in record.files.items():
        if "/" not in name or not name.startswith(f"{ROWS_FOLDER}/") or ".." in name:
            raise _STORED.invalid(folder / RECORD_FILE, f"files below {ROWS_FOLDER}/", "a path that leads elsewhere")
        path = folder / name
        if path.is_file():
            _STORED.refuse_other(path, digest)
    names = [part.name for part in record.parts]
    masses = {name: f"{ROWS_FOLDER}/{name}.masses.jsonl" for name in names}
    neutral = f"{ROWS_FOLDER}/{NEUTRAL}.jsonl"
    return Rows(
        completions={name: from_lines(CompletionRow, folder / ROWS_FOLDER / f"{name}.jsonl") for name in names},
        masses={name: from_lines(MassRow, folder / file) for name, file in masses.items() if file in record.files},
        passages=from_lines(PassageRow, folder / neutral) if neutral in record.files else [],
    )


def recheck(place: Path) -> EvaluationRecord:
    """Return the record once every number of it has been made again from the stored rows.

    Args:
        place: An evaluation.json, or the folder that holds one.

    Raises:
        Rejected: `results-missing` or `results-invalid` for files that are not there or not those of the record;
            `results-differ` when a number is not the one that its rows give.
    """
    record = read_record(place)
    folder = place if place.is_dir() else place.parent
    rows = read_rows(folder, record)
    numbers, found = made_of(record.parts, rows)
    refuse_other_numbers(folder / RECORD_FILE, (*record.numbers, *record.counts), (*numbers, *found))
    return record


def refuse_other_numbers(path: Path, stated: Sequence[object], made: Sequence[object]) -> None:
    """Refuse a record whose numbers are not those that its rows give.

    Args:
        path: The record, for the error.
        stated: Its numbers.
        made: Those made from its rows, in the same order.

    Raises:
        Rejected: `results-differ`.
    """
    wrong = list(_unequal(stated, made))
    if wrong:
        raise Rejected(
            "results-differ",
            subject=str(path),
            expected="the numbers that its rows give",
            got=f"{len(wrong)} that differ: {'; '.join(wrong[:3])}",
            fix="do not trust this record: ask whoever made it, or evaluate again",
        )


def _unequal(stated: Sequence[object], made: Sequence[object]) -> Iterator[str]:
    """Yield a line for each statement that the rows do not give."""
    if len(stated) != len(made):
        yield f"{len(stated)} entries where the rows give {len(made)}"
        return
    for one, other in zip(map(_fields, stated), map(_fields, made), strict=True):
        for key, value in one.items():
            if not _same(value, other[key]):
                name = " ".join(str(one[part]) for part in ("part", "composition", "metric", "group") if one.get(part))
                yield f"{name}: {key} is {value}, the rows give {other[key]}"


def _fields(entry: Any) -> dict[str, Any]:
    return asdict(entry)


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal, floats up to rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return one == other


def to_csv(numbers: Iterable[Number]) -> str:
    """Return the numbers as CSV (RFC 4180, but with line feeds), a line each, for spreadsheets."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Number.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, numbers))
    return text.getvalue()
