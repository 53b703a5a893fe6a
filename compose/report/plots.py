"""The pictures of a report: what is kept, how it was lost along the stages, and the R matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from compose.report import palette, words
from compose.report.drawing import Plot, Sheet, style
from compose.report.palette import Stroke
from compose.report.results import Estimate
from compose.report.summary import CurveLine

LOWEST, HIGHEST = -0.5, 1.5
"""Retention outside is drawn at the edge; the number beside it is exact."""
PAGE_WIDTH = 1000
PHONE_WIDTH = 340
LOWERED = 0.3
"""Rows by which a bar stands lower than its row's middle where the label is above it."""


@dataclass(frozen=True)
class Bars:
    """One row of the retention picture: label, an estimate a risk, and the same strategy's other orders."""

    label: str
    kept: tuple[Estimate, ...]
    orders: tuple[tuple[float, ...], ...] = ()
    contender: bool = True


def retention(titles: Sequence[str], rows: Sequence[Bars], *, name: str, narrow: bool = False) -> Plot:
    """Return bars of what is kept, one row an arm and one panel a risk; each row's weakest risk stands out.

    Args:
        titles: The risks, in the order of `Bars.kept`.
        rows: From top to bottom.
        name: Stem of the file name.
        narrow: For a phone: panels one beneath the other, labels above the bars.
    """
    reading = (
        f"{row.label}: {', '.join(f'{t} {_said(one)}' for t, one in zip(titles, row.kept, strict=True))}"
        for row in rows
    )
    alt = f"Share of each specialist's gain that is kept. {'; '.join(reading)}."
    places = _places(rows)
    with style():
        sheet = _retention_narrow(titles, rows, places) if narrow else _retention_wide(titles, rows, places)
        return sheet.plot(name, alt)


def _said(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else words.percent(estimate.value)


def _places(rows: Sequence[Bars]) -> list[float]:
    """Return each row's place, with a gap before what the arms are only compared with."""
    gap = 0.0
    places = []
    for index, row in enumerate(rows):
        if index and rows[index - 1].contender and not row.contender:
            gap = 0.7
        places.append(index + gap)
    return places


def _retention_wide(titles: Sequence[str], rows: Sequence[Bars], places: list[float]) -> Sheet:
    pitch, top, value, gap = 23, 58, 46, 26
    label = round(6.7 * max(len(row.label) for row in rows)) + 12
    panel = max(160, (PAGE_WIDTH - label) // len(titles) - value - gap)
    height = round(pitch * (places[-1] + 1))
    sheet = Sheet(label + len(titles) * (panel + value + gap) - gap, height + top + 4)
    for row, place in zip(rows, places, strict=True):
        tone = palette.INK if row.contender else palette.MUTED
        sheet.text(0, top + pitch * (place + 0.5), row.label, fontsize=12, color=tone)
    for column, title in enumerate(titles):
        x = label + column * (panel + value + gap)
        sheet.text(x, 10, title, fontsize=13, fontweight="bold")
        _bars(sheet.axes(x, top, panel, height), rows, places, column)
    return sheet


def _retention_narrow(titles: Sequence[str], rows: Sequence[Bars], places: list[float]) -> Sheet:
    pitch, top, value, gap = 38, 56, 46, 26
    height = round(pitch * (places[-1] + 1))
    each = height + top + gap
    sheet = Sheet(PHONE_WIDTH, each * len(titles) - gap)
    for column, title in enumerate(titles):
        y = column * each
        sheet.text(0, y + 10, title, fontsize=13, fontweight="bold")
        for row, place in zip(rows, places, strict=True):
            sheet.text(0, y + top + pitch * place + 14, row.label, fontsize=12)
        # The axes begin above the first label, so that the labels of the scale do not run into it.
        lowered = [place + LOWERED for place in places]
        axes = sheet.axes(0, y + top, PHONE_WIDTH - value, height + LOWERED * pitch)
        _bars(axes, rows, lowered, column, thickness=0.3)
    return sheet


def _bars(axes: Axes, rows: Sequence[Bars], places: Sequence[float], column: int, thickness: float = 0.46) -> None:
    axes.set_xlim(LOWEST, HIGHEST)
    axes.set_ylim(places[-1] + 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.tick_top()
    axes.set_xticks([0, 1], ["base\n0%", "specialist\n100%"], fontsize=10.5, linespacing=1.2)
    for edge in (0, 1):
        axes.axvline(edge, color=palette.RULE, linewidth=1, zorder=0)
    for row, place in zip(rows, places, strict=True):
        _bar(axes, row, place, column, thickness if row.contender else 0.6 * thickness)


def _bar(axes: Axes, row: Bars, place: float, column: int, thickness: float) -> None:
    estimate = row.kept[column]
    if estimate.value is None:
        axes.text(0.02, place, "undefined", va="center", fontsize=11, style="italic", color=palette.MUTED)
        return
    clear = [one.value for one in row.kept if one.value is not None and not one.reason]
    weak = row.contender and len(clear) > 1 and not estimate.reason and estimate.value == min(clear)
    shown = float(np.clip(estimate.value, LOWEST, HIGHEST))
    fill = palette.WEAK if weak else palette.FIELD if estimate.reason else palette.BAR
    edge = 1 if estimate.reason else 0  # an outline alone: a value that is given with a reservation
    axes.barh(place, shown, height=thickness, color=fill, linewidth=edge, edgecolor=palette.BAR)
    if estimate.low is not None and estimate.high is not None:
        low, high = np.clip([estimate.low, estimate.high], LOWEST, HIGHEST)
        axes.plot([low, high], [place, place], color=palette.INK, linewidth=1.1, solid_capstyle="butt")
    if row.orders:
        dots = np.clip(row.orders[column], LOWEST, HIGHEST)
        axes.plot(
            dots, [place] * len(dots), "o", markersize=3.4, markeredgewidth=0.9, clip_on=False,
            markerfacecolor=palette.FIELD, markeredgecolor=palette.MUTED,
        )  # fmt: skip
    tone = palette.MUTED if estimate.reason else palette.INK
    bold = "bold" if weak else "normal"
    text = words.percent(estimate.value)
    _outside(axes, text, place, offset=44, ha="right", fontsize=12, fontweight=bold, color=tone)


@dataclass(frozen=True)
class Panel:
    """One panel of forgetting curves: a risk, the order of the stages, and the lines by label."""

    risk: str
    title: str
    order: tuple[str, ...]
    lines: Mapping[str, CurveLine]
    base: float | None
    specialist: float | None


def curves(panel: Panel, strokes: Mapping[str, Stroke], *, name: str, width: int = PHONE_WIDTH) -> Plot:
    """Return one risk's safety along the stages of one order of risks, a line an arm.

    A stage is one unit wide for every arm, however many steps it took: what is compared is where in the stage
    something is lost. The band is the range over seeds.
    """
    with style():
        sheet = Sheet(width, 222)
        sheet.text(0, 9, panel.title, fontsize=12.5, fontweight="bold")
        axes = sheet.axes(28, 28, width - 86, 168)
        _stages(axes, panel)
        for label, line in panel.lines.items():
            _line(axes, line, strokes[label])
        ends = ", ".join(f"{words.strategy(label)} {line.points[-1][2]:.2f}" for label, line in panel.lines.items())
        alt = f"Safety on {panel.title} along the stages {words.order(panel.order)}; at the end: {ends}."
        return sheet.plot(name, alt)


def _stages(axes: Axes, panel: Panel) -> None:
    axes.set_xlim(0, len(panel.order))
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=10.5)
    axes.set_xticks(
        [stage + 0.5 for stage in range(len(panel.order))],
        [f"{stage + 1}. {risk}" for stage, risk in enumerate(panel.order)],
        fontsize=10.5,
    )
    axes.grid(axis="y", color=palette.RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for stage, risk in enumerate(panel.order):
        if risk == panel.risk:
            axes.axvspan(stage, stage + 1, color=palette.RULE, alpha=0.45, linewidth=0, zorder=0)
        if stage:
            axes.axvline(stage, color=palette.MUTED, linewidth=0.9, zorder=1)
    for level in (panel.base, panel.specialist):
        if level is not None:
            axes.axhline(level, color=palette.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    _beside(axes, panel)


def _beside(axes: Axes, panel: Panel) -> None:
    """Name the two dashed levels to the right of the panel, moved apart where they would overlap."""
    low = panel.base
    high = panel.specialist if low is None or panel.specialist is None else max(panel.specialist, low + 0.075)
    for level, text in ((low, "base"), (high, "specialist")):
        if level is not None:
            _outside(axes, text, level, offset=5, fontsize=10.5, color=palette.MUTED)


def _outside(axes: Axes, text: str, y: float, *, offset: float, **style: Any) -> None:
    """Write text to the right of the panel, `offset` pixels from its edge."""
    axes.annotate(
        text,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        **style,
    )


def _line(axes: Axes, line: CurveLine, stroke: Stroke) -> None:
    last = {stage: max(step for at, step, *_ in line.points if at == stage) for stage, *_ in line.points}
    x = [stage + step / max(last[stage], 1) for stage, step, *_ in line.points]
    mean, low, high = (np.array([point[place] for point in line.points]) for place in (2, 3, 4))
    dash = (0, stroke.dash) if stroke.dash else "solid"
    if np.any(high > low):
        axes.fill_between(x, low, high, color=stroke.colour, alpha=0.1, linewidth=0)
    axes.plot(x, mean, color=stroke.colour, linewidth=1.8, linestyle=dash)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One arm's R matrix as it is drawn.

    Args:
        title: Above the picture.
        order: The risk that each stage handles; empty where it is not known.
        risks: The columns.
        R: `[stage][risk]`, safety.
        base: Safety before any stage; None leaves its row out.
    """

    title: str
    order: tuple[str, ...]
    risks: tuple[str, ...]
    R: tuple[tuple[float, ...], ...]
    base: tuple[float, ...] | None = None


def matrix(drawn: Matrix, *, name: str) -> Plot:
    """Return an R matrix as a heat map: the base, then one row a stage; a frame marks the risk that it handles."""
    first = 0 if drawn.base is None else 1
    cells = np.array([*([drawn.base] if drawn.base is not None else []), *drawn.R])
    handled = (*drawn.order, *("" for _ in drawn.R))[: len(drawn.R)]
    stages = [f"{place}. {risk}" if risk else f"stage {place}" for place, risk in enumerate(handled, start=1)]
    stages = ["base"] * first + stages
    side, lead, pitch, top = 62, 80, 28, 56
    with style():
        sheet = Sheet(lead + side * len(drawn.risks) + 2, top + pitch * len(cells) + 2)
        sheet.text(0, 9, drawn.title, fontsize=12, fontweight="bold")
        sheet.text(0, 26, words.order(drawn.order), fontsize=10.5, color=palette.MUTED)
        axes = sheet.axes(lead, top, side * len(drawn.risks), pitch * len(cells))
        axes.pcolormesh(cells, cmap=palette.SAFETY, vmin=0, vmax=1, edgecolors=palette.FIELD, linewidth=2)
        axes.invert_yaxis()
        axes.xaxis.tick_top()
        axes.set_xticks([place + 0.5 for place in range(len(drawn.risks))], drawn.risks, fontsize=10.5)
        axes.set_yticks([place + 0.5 for place in range(len(cells))], stages, fontsize=10.5)
        for (row, column), value in np.ndenumerate(cells):
            trained = row >= first and drawn.risks[column] == handled[row - first]
            _cell(axes, row, column, float(value), framed=trained)
        reading = "; ".join(
            f"{stage}: {', '.join(f'{risk} {value:.2f}' for risk, value in zip(drawn.risks, row, strict=True))}"
            for stage, row in zip(stages, cells, strict=True)
        )
        alt = f"Safety after each stage of {drawn.title}. {reading}."
        return sheet.plot(name, alt)


def _cell(axes: Axes, row: int, column: int, value: float, *, framed: bool) -> None:
    colour = "#ffffff" if value > 0.55 else "#111111"
    axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=11, color=colour)
    if framed:
        frame = Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, linewidth=1.6)
        frame.set_edgecolor(palette.WEAK)
        axes.add_patch(frame)
