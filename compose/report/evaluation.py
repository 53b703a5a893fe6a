"""An evaluation for people: the table on a terminal, and a page that opens from disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compose import durable
from compose.evaluate.results import BASE
from compose.report import words
from compose.report.forest import Difference, forest
from compose.report.html import render
from compose.report.tables import Block, Cell, Column, Line, Table

if TYPE_CHECKING:  # its import takes torch with it
    from compose.evaluate.suites.numbers import Number
    from compose.evaluate.suites.record import EvaluationRecord

HEADS = ("", "value", "95% interval", "corrected", "95% interval", "against base", "95% interval", "p", "Holm", "n")
SHOWN_WITHOUT_JUDGE = (
    *("gld", "gendered_mass", "female_mass", "male_mass", "mass_gap", "abs_signed_gap"),
    *("perplexity", "perplexity_ratio", "generation_perplexity_median", "gibberish_count"),
    *("trigram_repetition", "distinct_2", "empty_rate"),
)
"""What no judge had to say and the terminal still shows; the files hold everything."""
GUTTER = "  "
PAGE = "evaluation.html"
TEMPLATE = "evaluation.html.j2"


def terminal(record: EvaluationRecord) -> str:
    """Return the numbers as a table, with what must be known before trusting them below it."""
    lines: list[tuple[str, ...]] = [HEADS]
    shown = ""
    for number in _shown(record):
        block = _block(number)
        if block != shown:
            lines.append((block,) + ("",) * (len(HEADS) - 1))
            shown = block
        lines.append(_row(number))
    about = f"suite {record.suite}, {record.base}, seed {record.settings['seed']}, prompts {record.suite_digest[:19]}"
    notes = "".join(f"\nnote: {warning}" for warning in record.warnings)
    return f"{record.title}\n{about}\n\n" + aligned(lines) + notes


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of equally many cells in columns, numbers to the right; a line of its first cell alone is a head."""
    full = [line for line in lines if any(line[1:])]
    widths = [max(len(line[place]) for line in full) for place in range(len(lines[0]))]
    return "\n".join(
        GUTTER.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _shown(record: EvaluationRecord) -> Iterator[Number]:
    """Yield the numbers that a terminal shows, those of one thing next to each other."""
    numbers = [n for n in record.numbers if n.judge or n.metric in SHOWN_WITHOUT_JUDGE]
    order = dict.fromkeys(_block(number) for number in numbers)
    for block in order:
        yield from (number for number in numbers if _block(number) == block)


def _block(number: Number) -> str:
    """Return what a number is about, whosever it is."""
    better = words.BETTER[number.direction]
    group = f" [{number.group}]" if number.group else ""
    judge = f", judge {number.judge}" if number.judge else ""
    return f"{number.part}{group}: {words.metric(number.metric, number.judge)} {better}{judge}"


def _row(number: Number) -> tuple[str, ...]:
    return (
        f"  {number.composition}",
        words.number(number.value),
        words.between(number.low, number.high),
        "" if number.corrected is None else words.number(number.corrected),
        words.between(number.corrected_low, number.corrected_high),
        "" if number.difference is None else words.number(number.difference),
        words.between(number.difference_low, number.difference_high),
        "" if number.p is None else f"{number.p:.2g}",
        "" if number.p_holm is None else f"{number.p_holm:.2g}",
        str(number.n),
    )


def write_page(record: EvaluationRecord, folder: Path) -> Path:
    """Return the path of the page of an evaluation, which lies beside its record.

    Raises:
        Rejected: `disk-full` or `read-only`.
    """
    shown = list(_differences(record))
    differences = tuple(forest(shown, name=f"differences{n}", narrow=bool(n)) for n in (0, 1)) if shown else ()
    html = render(
        TEMPLATE,
        record=record,
        folder=folder,
        sentences=list(_sentences(record)),
        differences=differences,
        numbers=_table(record),
        counts=_counts(record),
    )
    durable.write_text(folder / PAGE, html)
    return folder / PAGE


def _headlines(record: EvaluationRecord) -> Iterator[Number]:
    """Yield the numbers of patches that have a difference to the base, over all prompts of a part."""
    yield from (n for n in record.numbers if n.difference is not None and not n.group)


def _differences(record: EvaluationRecord) -> Iterator[Difference]:
    """Yield what the picture shows."""
    titles = {part.name: part.title for part in record.parts}
    for n in _headlines(record):
        if n.difference is not None and n.difference_low is not None and n.difference_high is not None:
            label = f"{n.composition}: {titles.get(n.part, n.part)}, {n.judge}"
            yield Difference(label, n.difference, n.difference_low, n.difference_high)


def _sentences(record: EvaluationRecord) -> Iterator[str]:
    """Yield what every patch did to every part, by the part's own judge."""
    first = {part.name: part.judge for part in record.parts}
    titles = {part.name: part.title for part in record.parts}
    before = {(n.part, n.metric, n.judge): n.value for n in record.numbers if n.composition == BASE and not n.group}
    for n in _headlines(record):
        if n.judge == first.get(n.part):
            was = words.number(before.get((n.part, n.metric, n.judge)))
            interval = words.between(n.difference_low, n.difference_high)
            change = (
                f"{words.number(n.difference)}, {interval}"
                if interval
                else f"{words.number(n.difference)} on every prompt"
            )
            yield (
                f"{n.composition} on {titles[n.part]}: {words.metric(n.metric, n.judge)} {was} {words.ARROW} "
                f"{words.number(n.value)} (difference {change})."
            )


def _table(record: EvaluationRecord) -> Table:
    """Return every number that is shown, a block for each metric and judge."""
    blocks: dict[str, list[Line]] = {}
    for n in _shown(record):
        cells = (
            Cell(words.number(n.value), words.between(n.low, n.high)),
            _cell(n.corrected, n.corrected_low, n.corrected_high),
            _cell(n.difference, n.difference_low, n.difference_high),
            Cell("" if n.p is None else f"{n.p:.2g}"),
            Cell("" if n.p_holm is None else f"{n.p_holm:.2g}"),
            Cell(str(n.n)),
        )
        blocks.setdefault(_block(n), []).append(Line(n.composition, "", cells))
    columns = tuple(Column(name) for name in ("value", "corrected", "against base", "p", "Holm", "n"))
    return Table(columns, tuple(Block(title, tuple(lines)) for title, lines in blocks.items()))


def _cell(value: float | None, low: float | None, high: float | None) -> Cell:
    return Cell("" if value is None else words.number(value), words.between(low, high))


def _counts(record: EvaluationRecord) -> Table:
    """Return what became of all completions."""
    heads = ("completions", "empty", "unjudged", "second_unjudged", "prompts_without_verdict", "truncated")
    blocks: dict[str, list[Line]] = {}
    for one in record.counts:
        cells = tuple(Cell(words.DASH if (n := getattr(one, head)) is None else str(n)) for head in heads)
        blocks.setdefault(one.part, []).append(Line(one.composition, "", cells))
    columns = tuple(Column(head.replace("_", " ")) for head in heads)
    return Table(columns, tuple(Block(title, tuple(lines)) for title, lines in blocks.items()))
