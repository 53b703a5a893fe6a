"""Differences with their intervals, one a row, on one scale around zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compose.report import palette, words
from compose.report.drawing import Plot, Sheet, style

PITCH, TOP, BOTTOM = 26, 8, 34
WIDE, NARROW = 1000, 340
VALUE = 190
"""Pixels for the numbers on the right."""


@dataclass(frozen=True)
class Difference:
    """One row: what it is of, the difference, and its interval."""

    label: str
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def forest(rows: Sequence[Difference], *, name: str, narrow: bool = False) -> Plot:
    """Return the picture of at least one difference; what is not clear of zero is drawn in the weak colour.

    Args:
        rows: From top to bottom.
        name: Stem of the file name.
        narrow: For a phone: labels and numbers above the bars.
    """
    pitch = 2 * PITCH if narrow else PITCH
    width = NARROW if narrow else WIDE
    label = 0 if narrow else round(6.7 * max(len(row.label) for row in rows)) + 16
    panel = width - label - (0 if narrow else VALUE)
    reach = max(max(abs(row.low), abs(row.high)) for row in rows) * 1.05 or 1.0
    said = "; ".join(f"{row.label} {_numbers(row)}" for row in rows)
    with style():
        sheet = Sheet(width, TOP + pitch * len(rows) + BOTTOM)
        axes = sheet.axes(label, TOP, panel, pitch * len(rows))
        axes.axvline(0, color=palette.RULE, linewidth=1)
        for place, row in enumerate(rows):
            middle = place + (0.72 if narrow else 0.5)
            colour = palette.INK if row.clear else palette.WEAK
            axes.plot([row.low, row.high], [middle, middle], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([row.value], [middle], marker="o", markersize=6, color=colour)
            height = TOP + pitch * (place + (0.28 if narrow else 0.5))
            sheet.text(0, height, row.label, fontsize=12)
            sheet.text(width, height, _numbers(row), fontsize=11, ha="right", color=palette.MUTED)
        axes.set(xlim=(-reach, reach), ylim=(len(rows), 0), yticks=[])
        return sheet.plot(name, f"Differences to the base. {said}.")


def _numbers(row: Difference) -> str:
    return f"{words.number(row.value)} ({words.between(row.low, row.high)})"
