"""A measurement under attack, as a table on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compose.report import words

if TYPE_CHECKING:  # its import takes torch with it
    from compose.evaluate.attacks.record import AttackRecord

HEADS = ("", "succeeded", "share", "95% interval", "against base", "95% interval", "p")
SPENT = ("", "requests", "not judged", "queries", "gradients", "candidates", "replies", "median to success")
GUTTER = "  "


def terminal(record: AttackRecord) -> str:
    """Return rates and queries as two tables, with what must be known before trusting them below. No text of a model.

    The rates are as the judges saw them; what was not judged is in none of them.
    """
    about = (
        f"attack {record.method}, {record.base}, at most {record.budget} queries a request, "
        f"seed {record.settings['seed']}, requests {record.requests[:19]}"
    )
    notes = "".join(f"\nnote: {warning}" for warning in record.warnings)
    rates, spent = _aligned([HEADS, *_rates(record)]), _aligned([SPENT, *_spent(record)])
    return f"{record.title}\n{about}\n\n{rates}\n\n{spent}{notes}"


def _rates(record: AttackRecord) -> Iterator[tuple[str, ...]]:
    shown = ""
    for rate in record.rates:
        block = f"{words.metric(rate.metric)} {words.BETTER['lower']}, judge {rate.judge}"
        if block != shown:
            yield (block, *[""] * (len(HEADS) - 1))
            shown = block
        yield (
            f"  {rate.composition}",
            f"{rate.successes} of {rate.n}",
            words.number(rate.value),
            words.between(rate.low, rate.high),
            "" if rate.difference is None else words.number(rate.difference),
            words.between(rate.difference_low, rate.difference_high),
            "" if rate.p is None else f"{rate.p:.2g}",
        )


def _spent(record: AttackRecord) -> Iterator[tuple[str, ...]]:
    for one in record.counts:
        numbers = (one.requests, one.unjudged_requests, one.queries, one.gradients, one.candidates, one.replies)
        middle = words.DASH if one.median_queries is None else f"{one.median_queries:g}"
        yield (f"  {one.composition}", *map(str, numbers), middle)


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Return lines in columns; a heading, which has one cell alone, widens none."""
    full = [line for line in lines if any(line[1:])]
    widths = [max(len(line[place]) for line in full) for place in range(len(lines[0]))]
    return "\n".join(
        GUTTER.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
