"""An evaluation for people: the table on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compose.report import words

if TYPE_CHECKING:  # its import takes torch with it
    from compose.evaluate.suites.numbers import Number
    from compose.evaluate.suites.record import EvaluationRecord

HEADS = ("", "value", "95% interval", "corrected", "95% interval", "against base", "95% interval", "p", "n")
SHOWN_WITHOUT_JUDGE = (
    *("gld", "gendered_mass", "female_mass", "male_mass", "mass_gap", "abs_signed_gap"),
    *("perplexity", "perplexity_ratio", "generation_perplexity_median", "gibberish_count"),
    *("trigram_repetition", "distinct_2", "empty_rate"),
)
"""What no judge had to say and the terminal still shows; the files hold everything."""
GUTTER = "  "


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
    widths = [
        max(len(line[place]) for line in lines if line[1:] != ("",) * (len(HEADS) - 1)) for place in range(len(HEADS))
    ]
    aligned = [
        GUTTER.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    about = f"suite {record.suite}, {record.base}, seed {record.settings['seed']}, prompts {record.suite_digest[:19]}"
    notes = "".join(f"\nnote: {warning}" for warning in record.warnings)
    return f"{record.title}\n{about}\n\n" + "\n".join(aligned) + notes


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
    return f"{number.part}{group}: {words.metric(number.metric)} {better}{judge}"


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
        str(number.n),
    )
