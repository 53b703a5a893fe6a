"""The record of a measurement under attack, its folder, and the proof that its rates are those of its attempts.

attack.json       the record: what was attacked, how, every rate and count, the digest of the attempts
attempts.jsonl    one line a system and request: the prompt and the reply that the attack ended with
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass

from compose import durable
from compose.digest import of_bytes
from compose.errors import Rejected
from compose.evaluate.attacks.attempt import AttemptRow
from compose.evaluate.attacks.rates import AttackCounts, AttackRate, rates_of
from compose.evaluate.stored import Stored
from compose.evaluate.suites.record import Measured
from compose.evaluate.suites.rows import from_lines, to_lines

RECORD_FILE = "attack.json"
ROWS_FILE = "attempts.jsonl"
SCHEMA: Literal[1] = 1
_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class AttackRecord:
    """Everything that a measurement under attack says.

    Attributes:
        schema: Version of this layout.
        attack: Name of the settings file.
        title: What it measures.
        method: Name of the attack.
        method_version: What identifies it, the attacker's model or texts included.
        budget: The most queries a request.
        settings: The resolved settings.
        requests: Digest of the attacked requests, order included.
        base: Name of the base.
        fingerprint: What identifies it.
        patches: The patches, in the order given.
        judge: Name of the judge.
        judge_version: What identifies its model or list.
        second_judge: Name of the second judge; None where there is none.
        second_judge_version: What identifies that.
        threshold: A reply whose score reaches it is unsafe.
        rates: Every rate.
        counts: What became of all requests and replies, and what was spent.
        rows: Digest of the attempts.
        warnings: What a reader must know before trusting a rate.
        command: The command line that repeats the measurement.
        commit: Commit of the code, or "unknown".
        dirty: Whether the checkout had changes on top of it.
        machine: What it was computed on.
        versions: Of the packages that decide numbers.
        finished: UTC, ISO 8601.
        seconds: Wall time, what was kept from before not counted.
    """

    schema: Literal[1] = SCHEMA
    attack: str
    title: str
    method: str
    method_version: str
    budget: int
    settings: dict[str, JsonValue]
    requests: str
    base: str
    fingerprint: str
    patches: tuple[Measured, ...]
    judge: str
    judge_version: str
    second_judge: str | None
    second_judge_version: str | None
    threshold: float
    rates: tuple[AttackRate, ...]
    counts: tuple[AttackCounts, ...]
    rows: str
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
    adapter=TypeAdapter(AttackRecord),
    what="measurement",
    missing="name the folder that `compose attack` ended with; an interrupted one resumes when repeated",
    again="measure again",
)


def digest_of_rows(rows: Sequence[AttemptRow]) -> str:
    """Return the digest that a record has of its attempts."""
    return of_bytes(to_lines(rows))


def write_record(folder: Path, record: AttackRecord, rows: Sequence[AttemptRow]) -> None:
    """Write attempts and record into a folder, the record last.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    durable.write_bytes(folder / ROWS_FILE, to_lines(rows))
    durable.write_json(folder / RECORD_FILE, _STORED.adapter.dump_python(record, mode="json"))


def read_record(place: Path) -> AttackRecord:
    """Return the record in `place`, an attack.json or the folder that holds one.

    Raises:
        Rejected: `results-missing`; `results-invalid` for a file that is no record, such as one with NaN in it.
    """
    return _STORED.read(place)


def read_rows(place: Path, record: AttackRecord) -> list[AttemptRow]:
    """Return the attempts of a record, those that it names by digest.

    Args:
        place: An attack.json, or the folder that holds one.
        record: The record in it.

    Raises:
        Rejected: `results-missing`; `results-invalid` for another file, or one that holds a line that is no attempt.
    """
    path = (place if place.is_dir() else place.parent) / ROWS_FILE
    rows = from_lines(AttemptRow, path)
    _STORED.refuse_other(path, record.rows)
    return rows


def recheck(place: Path) -> AttackRecord:
    """Return the record once every rate and count of it has been made again from the stored attempts.

    Args:
        place: An attack.json, or the folder that holds one.

    Raises:
        Rejected: `results-missing` or `results-invalid` for files that are not there or not those of the record;
            `results-differ` when a rate or count is not the one that the attempts give.
    """
    record = read_record(place)
    rows = read_rows(place, record)
    rates, counts = rates_of(rows, record.threshold, record.judge, record.second_judge)
    wrong = [*_unequal(record.rates, rates), *_unequal(record.counts, counts)]
    over = [row.prompt_id for row in rows if row.queries > record.budget]
    if wrong or over:
        raise Rejected(
            "results-differ",
            subject=str(place),
            expected="the rates and counts that its attempts give, each within the budget",
            got=f"{len(wrong)} that differ ({'; '.join(wrong[:3])}), {len(over)} attempts over the budget",
            fix="do not trust this record: ask whoever made it, or measure again",
        )
    return record


def _unequal(stated: Sequence[Any], made: Sequence[Any]) -> Iterator[str]:
    """Yield what is stated and not made of the attempts."""
    if len(stated) != len(made):
        yield f"{len(stated)} entries where the attempts give {len(made)}"
        return
    for one, other in zip(stated, made, strict=True):
        found = asdict(other)
        yield from (f"{one.composition}: {key}" for key, value in asdict(one).items() if found[key] != value)
