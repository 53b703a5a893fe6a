"""Text for a terminal: aligned pairs, and texts side by side. What a model wrote is made safe to print."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

GUTTER = " | "
WIDTH_WITHOUT_TERMINAL = 100


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return `name  value` lines whose values start in one column."""
    listed = list(rows)
    width = max((len(name) for name, _ in listed), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in listed)


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of equally many cells whose columns start at one place each."""
    listed = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in listed)
    return "\n".join(line.rstrip() for line in lines)


def side_by_side(texts: Sequence[str], heads: Sequence[str], width: int | None = None) -> str:
    """Return the texts in columns of equal width under their heads.

    Args:
        texts: What stands in each column.
        heads: The title of each column.
        width: Characters in a line; those of the terminal when None.
    """
    width = width or shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns
    room = max(10, (width - len(GUTTER) * (len(texts) - 1)) // len(texts))
    columns = [
        [*_wrap(head, room), "-" * room, *_wrap(printable(text), room)] for head, text in zip(heads, texts, strict=True)
    ]
    height = max(len(column) for column in columns)
    filled = [column + [""] * (height - len(column)) for column in columns]
    return "\n".join(GUTTER.join(f"{cell:<{room}}" for cell in line).rstrip() for line in zip(*filled, strict=True))


def printable(text: str) -> str:
    """Return `text` without control characters: a terminal would obey an escape sequence of the model."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _wrap(text: str, width: int) -> list[str]:
    """Return the lines of `text`, each at most `width` long; its own line breaks stay."""
    return [piece for line in text.splitlines() for piece in (textwrap.wrap(line, width) or [""])]
