"""What each model does on each risk, on the metric's own scale: for runs in which no arm competes for anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compose.report import palette, words
from compose.report.drawing import Plot, Sheet, style
from compose.report.plots import PAGE_WIDTH, PHONE_WIDTH
from compose.report.results import MetricValue

PITCH, TOP, VALUE, GAP = 26, 44, 150, 30
"""Pixels: a row, what stands above the rows, the numbers to the right of a panel, and between two panels."""


@dataclass(frozen=True)
class Level:
    """One row: a model and its headline metric on each risk; None where it was not measured."""

    label: str
    values: tuple[MetricValue | None, ...]
    patch: bool


def levels(titles: Sequence[str], rows: Sequence[Level], *, name: str, narrow: bool = False) -> Plot:
    """Return dots with their intervals, one row a model and one panel a risk; models without a patch are muted.

    Args:
        titles: Risk and metric of each panel, in the order of `Level.values`.
        rows: From top to bottom.
        name: Stem of the file name.
        narrow: For a phone: panels one beneath the other, labels above the dots.
    """
    said = (
        f"{row.label}: {', '.join(f'{t} {_numbers(one)}' for t, one in zip(titles, row.values, strict=True) if one)}"
        for row in rows
    )
    pitch = 2 * PITCH if narrow else PITCH
    label = 0 if narrow else round(6.7 * max(len(row.label) for row in rows)) + 16
    beside = 0 if narrow else VALUE
    columns = 1 if narrow else len(titles)
    panel = ((PHONE_WIDTH if narrow else PAGE_WIDTH) - label) // columns - beside - GAP * (columns > 1)
    height = pitch * len(rows)
    width = label + columns * (panel + beside + GAP) - GAP
    with style():
        sheet = Sheet(width, (TOP + height + GAP) * (len(titles) if narrow else 1) - GAP + 4)
        for place, title in enumerate(titles):
            x = label + (0 if narrow else place * (panel + beside + GAP))
            y = place * (TOP + height + GAP) if narrow else 0
            sheet.text(x, y + 10, title, fontsize=13, fontweight="bold")
            _panel(sheet, rows, place, x, y + TOP, panel, narrow=narrow)
            for at, row in enumerate(rows):
                middle = y + TOP + pitch * at + (12 if narrow else PITCH / 2)
                tone = palette.INK if row.patch else palette.MUTED
                if narrow or place == 0:
                    sheet.text(0, middle, row.label, fontsize=12, color=tone)
                sheet.text(x + panel + beside, middle, _numbers(row.values[place]), fontsize=11, ha="right", color=tone)
        return sheet.plot(name, f"What each model does. {'; '.join(said)}.")


def _panel(sheet: Sheet, rows: Sequence[Level], column: int, x: float, y: float, width: float, *, narrow: bool) -> None:
    """Draw one risk: a line an interval, a dot a value."""
    axes = sheet.axes(x, y, width, (2 * PITCH if narrow else PITCH) * len(rows))
    axes.set(xlim=(-0.01, 1.01), ylim=(len(rows), 0), yticks=[])
    axes.xaxis.tick_top()
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=10.5)
    axes.grid(axis="x", color=palette.RULE, linewidth=1)
    axes.set_axisbelow(True)
    for place, row in enumerate(rows):
        found = row.values[column]
        if found is None or found.value is None:
            continue
        middle = place + (0.74 if narrow else 0.5)
        colour = palette.INK if row.patch else palette.MUTED
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [middle, middle], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([found.value], [middle], marker="o", markersize=6, color=colour, clip_on=False)


def _numbers(found: MetricValue | None) -> str:
    if found is None:
        return words.DASH
    value, interval = words.measured(found)
    return f"{value} ({interval})" if interval else value
