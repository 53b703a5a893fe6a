"""The record of a benchmark: a row a question and composition, and the numbers that rows give.

benchmark.json    the record: what was asked of what, every number, the digest of the rows
rows.jsonl        one line a question and composition
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from compose import durable
from compose.digest import of_bytes
from compose.errors import Rejected
from compose.evaluate.metrics import Direction, Metric, mean, rate
from compose.evaluate.results import BASE
from compose.evaluate.statistics.bootstrap import paired_difference
from compose.evaluate.statistics.mcnemar import Discordance
from compose.evaluate.stored import Stored
from compose.evaluate.suites.numbers import Number
from compose.evaluate.suites.record import Measured, refuse_other_numbers
from compose.evaluate.suites.rows import from_lines, to_lines
from compose.records import SETTINGS

RECORD_FILE = "benchmark.json"
ROWS_FILE = "rows.jsonl"
SCHEMA: Literal[1] = 1
ALL = "all"
"""The part of numbers over the questions of all tasks together."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BenchmarkSpec:
    """What is asked.

    Args:
        tasks: Names of tasks, of groups, or patterns such as `arc_*`.
        limit: The first so many questions of each task; None asks all.
        shots: Examples in front of each question; None leaves it to the task.
        chat: Whether questions go through the base's chat template.
        tasks_path: A folder of task files of one's own. They are code.
        seed: Of few-shot examples that are drawn, and of sampling.
    """

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    limit: Annotated[int, Field(gt=0)] | None = None
    shots: Annotated[int, Field(ge=0)] | None = None
    chat: bool = False
    tasks_path: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0


_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class Asked:
    """One task as it was asked.

    Attributes:
        name: Its name.
        source: Where its questions come from.
        version: What its makers call this wording of it.
        shots: Examples in front of each question.
        questions: How many it has; fewer are asked under a limit.
        metrics: Name of each metric -> which way is better.
    """

    name: str
    source: str
    version: str
    shots: int
    questions: int
    metrics: dict[str, Direction]


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class BenchmarkRow:
    """What one composition did with one question.

    Attributes:
        composition: Who answered.
        task: Name of the task.
        question: Index of the question in the task.
        request: Digest of everything that the model was given for it: equal for all compositions.
        target: The right answer, as the task has it.
        responses: What the model gave: (log-probability, whether greedy) a continuation, or texts.
        metrics: Name of each metric -> its value for this question; after a comma the filter of the answer, where the
            task has any. Only metrics that are a number a question.
    """

    composition: str
    task: str
    question: Annotated[int, Field(ge=0)]
    request: str
    target: str
    responses: list[Any]
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class Aggregate:
    """A metric that is no mean over questions, such as a perplexity, as lm-eval gives it for one composition."""

    composition: str
    task: str
    metric: str
    direction: Direction
    value: float


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class BenchmarkRecord:
    """Everything that a benchmark says.

    Attributes:
        schema: Version of this layout.
        settings: What was asked for.
        asked: The tasks.
        base: Name of the base.
        fingerprint: What identifies it.
        patches: The patches, in the order given.
        room: Tokens of text that fit behind the longest patch: longer contexts lose their beginning, also the base's.
        numbers: Every number that the rows give. Its part is the task, `all` for the questions of all of them.
        aggregates: What lm-eval alone can tell.
        rows: Digest of the rows.
        warnings: What a reader must know before trusting a number.
        command: The command line that repeats the benchmark.
        commit: Commit of the code, or "unknown".
        dirty: Whether the checkout had changes on top of it.
        machine: What it was computed on.
        versions: Of the packages that decide numbers.
        finished: UTC, ISO 8601.
        seconds: Wall time of asking.
    """

    schema: Literal[1] = SCHEMA
    settings: BenchmarkSpec
    asked: tuple[Asked, ...]
    base: str
    fingerprint: str
    patches: tuple[Measured, ...]
    room: int | None
    numbers: tuple[Number, ...]
    aggregates: tuple[Aggregate, ...] = ()
    rows: str
    warnings: tuple[str, ...] = field(default_factory=tuple)
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
    adapter=TypeAdapter(BenchmarkRecord),
    what="benchmark",
    missing="name the folder that `compose benchmark` ended with",
    again="run the benchmark again",
)
Values = dict[str, dict[tuple[str, int], float]]
"""By composition, the value of each question of each task."""


def direction_of(higher_is_better: bool | None) -> Direction:
    """Return which way is better, as lm-eval says it; where it does not say, more is better."""
    return "lower" if higher_is_better is False else "higher"


def direction(asked: Asked, metric: str) -> Direction:
    """Return which way a task's metric is better; the filter behind a comma is no part of its name."""
    return asked.metrics.get(metric.partition(",")[0], "higher")


def values_of(asked: Sequence[Asked], rows: Sequence[BenchmarkRow]) -> dict[tuple[str, str, Direction], Values]:
    """Return each metric's value of every question, by (task, metric, which way is better)."""
    found: dict[tuple[str, str, Direction], Values] = {}
    for one in asked:
        own = [row for row in rows if row.task == one.name]
        for metric in dict.fromkeys(key for row in own for key in row.metrics):
            values: Values = {}
            for row in own:
                if metric in row.metrics:
                    values.setdefault(row.composition, {})[row.task, row.question] = row.metrics[metric]
            found[one.name, metric, direction(one, metric)] = values
    return found


def together(found: Mapping[tuple[str, str, Direction], Values]) -> dict[tuple[str, Direction], Values]:
    """Return the values of all tasks' questions by (metric, which way is better), for metrics of several tasks."""
    tables: dict[tuple[str, Direction], list[Values]] = {}
    for (_, metric, way), values in found.items():
        tables.setdefault((metric, way), []).append(values)
    return {
        key: {
            name: {question: v for table in each for question, v in table.get(name, {}).items()}
            for name in dict.fromkeys(name for table in each for name in table)
        }
        for key, each in tables.items()
        if len(each) > 1
    }


def numbers_of(asked: Sequence[Asked], rows: Sequence[BenchmarkRow]) -> tuple[Number, ...]:
    """Return every number that rows give: by task and metric, and over all questions where there are several tasks."""
    by_task = values_of(asked, rows)
    found = [
        number for (task, metric, way), values in by_task.items() for number in _compared(task, metric, way, values)
    ]
    for (metric, way), values in together(by_task).items():
        found = [*_compared(ALL, metric, way, values), *found]
    return tuple(found)


def _compared(part: str, metric: str, way: Direction, values: Values) -> list[Number]:
    """Return a metric of every composition: with Wilson's interval and McNemar's test where it is right or wrong.

    Else the mean has Student's interval and the difference a paired bootstrap's.
    """
    binary = all(value in (0.0, 1.0) for table in values.values() for value in table.values())
    before = values.get(BASE, {})
    found = []
    for name, table in values.items():
        own: Metric = (rate if binary else mean)(list(table.values()), way)
        common = [key for key in table if key in before]
        versus: dict[str, Any] = {}
        if name != BASE and common:
            early, late = [before[key] for key in common], [table[key] for key in common]
            versus = _right_or_wrong(early, late) if binary else _measured(early, late)
        found.append(
            Number(
                part=part, composition=name, metric=metric, direction=way,
                value=own.value, low=own.low, high=own.high, n=own.n, **versus,
            )
        )  # fmt: skip
    return found


def _right_or_wrong(early: Sequence[float], late: Sequence[float]) -> dict[str, float | None]:
    """Return the difference of two accuracies on the same questions, with its interval and McNemar's exact p."""
    table = Discordance.of([value == 1.0 for value in early], [value == 1.0 for value in late])
    low, high = table.interval()
    return {
        "difference": table.difference,
        "difference_low": low,
        "difference_high": high,
        "p": table.exact_p(),
    }


def _measured(early: Sequence[float], late: Sequence[float]) -> dict[str, float | None]:
    """Return the mean difference on the same questions with its paired bootstrap interval."""
    estimate = paired_difference(late, early)
    return {"difference": estimate.value, "difference_low": estimate.low, "difference_high": estimate.high}


def refuse_other_questions(rows: Mapping[str, Sequence[BenchmarkRow]]) -> None:
    """Refuse rows in which two compositions were not given the same, question by question.

    Raises:
        Rejected: `benchmark-invalid`.
    """
    given = {name: {(row.task, row.question): row.request for row in own} for name, own in rows.items()}
    first = next(iter(given))
    for name, requests in given.items():
        if requests != given[first]:
            changed = sorted(key for key in {*requests, *given[first]} if requests.get(key) != given[first].get(key))
            raise Rejected(
                "benchmark-invalid",
                subject=f"task {changed[0][0]}",
                expected=f"the same questions in the same words for {first} and {name}",
                got=f"{len(changed)} that differ, the first of them question {changed[0][1]}",
                fix="correct the task's file: it draws something from a generator that it does not seed",
            )


def write_record(folder: Path, record: BenchmarkRecord, rows: Iterable[BenchmarkRow]) -> None:
    """Write rows and record into a folder, the record last.

    Raises:
        Rejected: `disk-full` or `read-only`, when the disk refuses.
    """
    durable.write_bytes(folder / ROWS_FILE, to_lines(rows))
    durable.write_json(folder / RECORD_FILE, _STORED.adapter.dump_python(record, mode="json"))


def digest_of_rows(rows: Iterable[BenchmarkRow]) -> str:
    """Return the digest of the file of these rows."""
    return of_bytes(to_lines(rows))


def read_record(place: Path) -> BenchmarkRecord:
    """Return the record in `place`, a benchmark.json or the folder that holds one.

    Raises:
        Rejected: `results-missing`; `results-invalid` for a file that is no record, such as one with NaN in it.
    """
    return _STORED.read(place)


def read_rows(place: Path, record: BenchmarkRecord) -> list[BenchmarkRow]:
    """Return the rows of a record, those that it names by digest.

    Args:
        place: A benchmark.json, or the folder that holds one.
        record: The record in it.

    Raises:
        Rejected: `results-missing`; `results-invalid` for another file, or one that holds a line that is no row.
    """
    path = (place if place.is_dir() else place.parent) / ROWS_FILE
    rows = from_lines(BenchmarkRow, path)
    _STORED.refuse_other(path, record.rows)
    return rows


def recheck(place: Path) -> BenchmarkRecord:
    """Return the record once every number of it has been made again from the stored rows.

    Raises:
        Rejected: `results-missing` or `results-invalid` for files that are not there or not those of the record;
            `results-differ` when a number is not the one that its rows give.
    """
    record = read_record(place)
    rows = read_rows(place, record)
    folder = place if place.is_dir() else place.parent
    refuse_other_numbers(folder / RECORD_FILE, record.numbers, numbers_of(record.asked, rows))
    return record
