"""A benchmark for people: the table on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compose.report import words
from compose.report.evaluation import aligned

if TYPE_CHECKING:  # its import takes torch with it
    from compose.evaluate.benchmark.record import BenchmarkRecord
    from compose.evaluate.suites.numbers import Number

MOST_TASKS = 8
"""With more tasks than this a terminal shows what they have together."""
HEADS = ("", "value", "95% interval", "against base", "95% interval", "McNemar p", "n")


def terminal(record: BenchmarkRecord) -> str:
    """Return the numbers as a table, with what must be known before trusting them below it."""
    from compose.evaluate.benchmark.record import ALL

    lines: list[tuple[str, ...]] = [HEADS]
    shown = ""
    together = [number for number in record.numbers if number.part == ALL]
    for number in together if together and len(record.asked) > MOST_TASKS else record.numbers:
        block = f"{number.part}: {words.metric(number.metric)} {words.BETTER[number.direction]}"
        if block != shown:
            lines.append((block,) + ("",) * (len(HEADS) - 1))
            shown = block
        lines.append(_row(number))
    for one in record.aggregates:
        block = f"{one.task}: {words.metric(one.metric)} {words.BETTER[one.direction]}, as lm-eval gives it"
        if block != shown:
            lines.append((block,) + ("",) * (len(HEADS) - 1))
            shown = block
        lines.append((f"  {one.composition}", words.number(one.value), *("",) * 5))
    return f"{_about(record)}\n\n{aligned(lines)}" + "".join(f"\nnote: {line}" for line in _notes(record))


def _about(record: BenchmarkRecord) -> str:
    """Return what was asked, in one line."""
    settings = record.settings
    shots = " or ".join(str(count) for count in sorted({one.shots for one in record.asked}))
    chat = ", through the chat template" if settings.chat else ""
    return (
        f"{' '.join(settings.tasks)} through lm-eval {record.versions['lm_eval']}, {record.base}, {shots} shots{chat}"
    )


def _notes(record: BenchmarkRecord) -> Iterator[str]:
    """Yield where the questions come from, and the warnings."""
    sources = {one.source.partition(", sha256:")[0] for one in record.asked}
    yield f"questions from {words.listed(sorted(sources))}"
    if len(record.asked) > MOST_TASKS:
        yield f"the numbers of each of the {len(record.asked)} tasks are in numbers.csv"
    yield from record.warnings


def _row(number: Number) -> tuple[str, ...]:
    return (
        f"  {number.composition}",
        words.number(number.value),
        words.between(number.low, number.high),
        "" if number.difference is None else words.number(number.difference),
        words.between(number.difference_low, number.difference_high),
        "" if number.p is None else f"{number.p:.2g}",
        str(number.n),
    )
