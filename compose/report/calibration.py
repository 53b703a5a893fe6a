"""The calibration plot of a judge's card: what it says against what is true, on texts that it never saw."""

from __future__ import annotations

from compose.evaluate.judges.fitted.card import JudgeCard
from compose.report import palette
from compose.report.drawing import Plot, Sheet, style

WIDTH, HEIGHT, EDGE, PANEL = 340, 340, 54, 250


def calibration(card: JudgeCard) -> Plot:
    """Return the plot of a card's first measurement: bins of equally many texts; on the diagonal it is right."""
    bins = card.measured[0].calibration
    said = "; ".join(f"{one.score:.2f} is {one.truth:.2f}" for one in bins)
    with style():
        sheet = Sheet(WIDTH, HEIGHT)
        sheet.text(EDGE, 20, f"{card.judge}: {sum(one.rows for one in bins)} unseen texts", fontsize=12)
        axes = sheet.axes(EDGE, 36, PANEL, PANEL)
        axes.plot([0, 1], [0, 1], color=palette.RULE, linewidth=1)
        axes.plot([one.score for one in bins], [one.truth for one in bins], marker="o", color=palette.HUES[0])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean score", ylabel="mean truth")
        return sheet.plot("calibration", f"Calibration of {card.judge}. {said}.")
