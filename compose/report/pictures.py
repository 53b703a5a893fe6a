"""Which pictures a report shows, in which order, and which of them only on a click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compose.report import plots, words
from compose.report.drawing import Plot
from compose.report.levels import Level, levels
from compose.report.palette import Stroke, strokes
from compose.report.results import Estimate
from compose.report.summary import ArmRow, CurveLine, Summary
from compose.report.tables import by_kind

MOST_ROWS = 20
"""With more arms than this the first picture has one row a strategy, and the arms are on a click."""
WIDER, NARROWER = 420, 318
"""Pixels of a panel of curves: two stand side by side, or three."""


@dataclass(frozen=True)
class Row:
    """Pictures that stand side by side under one heading."""

    title: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Pictures:
    """Every picture of a report; `more_...` are shown on a click.

    `levels` takes the place of `retention` where no arm competes. `by_strategy` says that `retention` has one row a
    strategy, `outlined` that some value in it has a reservation.
    """

    levels: tuple[Plot, Plot] | None
    retention: tuple[Plot, Plot] | None
    by_strategy: bool
    outlined: bool
    more_retention: tuple[Plot, Plot] | None
    curves: tuple[Row, ...]
    more_curves: tuple[Row, ...]
    legend: dict[str, Stroke]
    matrices: tuple[Plot, ...]
    more_matrices: tuple[Plot, ...]

    def files(self) -> list[Plot]:
        """Return the pictures that become PNG files, the wide one of each pair."""
        pairs = [pair for pair in (self.levels, self.retention, self.more_retention) if pair]
        rows = [plot for row in (*self.curves, *self.more_curves) for plot in row.plots]
        return [pair[0] for pair in pairs] + rows + [*self.matrices, *self.more_matrices]


def pictures(summary: Summary) -> Pictures:
    """Return the pictures of a summary, drawn."""
    titles = [summary.title(risk.name) for risk in summary.risks]
    alone = not summary.contenders
    by_strategy = len(summary.contenders) > MOST_ROWS
    arms = (
        []
        if alone
        else [
            plots.Bars(words.arm(arm), _kept(summary, arm), contender=arm.contender)
            for arm in summary.arms
            if arm.contender or not by_strategy or arm.final == summary.joint
        ]
    )
    every = _pair(titles, arms, "retention-arms" if by_strategy else "retention")
    rows, legend = _curves(summary)
    # With two orders both are shown: what the order does is the question.
    shown = 2 if len(rows) == 2 else 1
    matrices = _matrices(summary)
    return Pictures(
        levels=_levels(summary) if alone else None,
        retention=_pair(titles, _by_strategy(summary), "retention") if by_strategy else every,
        by_strategy=by_strategy,
        outlined=any(one.reason and one.value is not None for bars in arms for one in bars.kept),
        more_retention=every if by_strategy else None,
        curves=tuple(rows[:shown]),
        more_curves=tuple(rows[shown:]),
        legend=legend,
        matrices=tuple(matrices[0]),
        more_matrices=tuple(matrices[1]),
    )


def _levels(summary: Summary) -> tuple[Plot, Plot] | None:
    """Return what base, baselines and patches do on the risks they were measured on, wide and narrow."""
    titles = [f"{summary.title(risk.name)}: {words.metric(risk.headline, risk.judge)}" for risk in summary.risks]
    rows = [
        Level(
            row.label,
            tuple(row.metrics.get(risk.name, {}).get(risk.headline) for risk in summary.risks),
            patch=row.kind == "specialist",
        )
        for row in by_kind(summary)
    ]
    if not titles or not rows:
        return None
    return levels(titles, rows, name="levels"), levels(titles, rows, name="levels-narrow", narrow=True)


def _pair(titles: Sequence[str], rows: Sequence[plots.Bars], name: str) -> tuple[Plot, Plot] | None:
    if not rows:
        return None
    narrow = plots.retention(titles, rows, name=f"{name}-narrow", narrow=True)
    return plots.retention(titles, rows, name=name), narrow


def _kept(summary: Summary, arm: ArmRow) -> tuple[Estimate, ...]:
    return tuple(arm.retention[risk.name] for risk in summary.risks)


def _by_strategy(summary: Summary) -> list[plots.Bars]:
    """Return one row a strategy: its best order, every other order as a dot, the best strategy first."""
    groups: dict[str, list[ArmRow]] = {}
    for arm in summary.arms:  # ranked: the first of a group is its best
        if arm.contender or arm.final == summary.joint:
            groups.setdefault(arm.label, []).append(arm)
    rows = []
    for best, *others in groups.values():
        dots = tuple(
            tuple(value for arm in others if (value := arm.retention[risk.name].value) is not None)
            for risk in summary.risks
        )
        rows.append(plots.Bars(words.arm(best), _kept(summary, best), dots, contender=best.contender))
    return rows


def _curves(summary: Summary) -> tuple[list[Row], dict[str, Stroke]]:
    """Return one row of panels an order of risks (the best arm's order first), and the strokes' legend."""
    lines = {(line.arm, line.risk): line for line in summary.curves}
    orders: dict[tuple[str, ...], list[ArmRow]] = {}
    for arm in summary.arms:
        if len(arm.stages) > 1 and any((arm.name, risk.name) in lines for risk in summary.risks):
            orders.setdefault(arm.order, []).append(arm)
    legend = strokes(arm.label for arms in orders.values() for arm in arms)
    width = NARROWER if len(summary.risks) > 2 else WIDER
    rows = []
    for order, arms in orders.items():
        panels = []
        for risk in summary.risks:
            found: dict[str, CurveLine] = {
                arm.label: line for arm in arms if (line := lines.get((arm.name, risk.name))) is not None
            }
            if found:
                panel = _panel(summary, risk.name, order, found)
                name = "-".join(("curves", *order, "on", risk.name))
                panels.append(plots.curves(panel, legend, name=name, width=width))
        rows.append(Row(words.order(order), tuple(panels)))
    return rows, legend


def _panel(summary: Summary, risk: str, order: tuple[str, ...], lines: dict[str, CurveLine]) -> plots.Panel:
    name = summary.specialists.get(risk)
    ends = [line.points[-1][2] for line in summary.curves if (line.arm, line.risk) == (_arm_of(summary, name), risk)]
    return plots.Panel(
        risk=risk,
        title=summary.title(risk),
        order=order,
        lines=lines,
        base=summary.curve_base.get(risk),
        specialist=ends[0] if ends else None,
    )


def _arm_of(summary: Summary, composition: str | None) -> str | None:
    """Return the arm that ends with a composition, and has nothing before it."""
    return next((arm.name for arm in summary.arms if arm.stages == (composition,)), None)


def _matrices(summary: Summary) -> tuple[list[Plot], list[Plot]]:
    """Return the heat maps of arms with several stages, orders of one strategy together, the best first.

    When there are many arms the first list has each strategy's best order alone, the second all the others.
    """
    arms = [arm for arm in summary.arms if len(arm.stages) > 1]
    rank = {label: place for place, label in enumerate(dict.fromkeys(arm.label for arm in arms))}
    risks = [risk.name for risk in summary.risks]
    base = [summary.rows[summary.base_name].safety[risk].value or 0.0 for risk in risks]
    best: list[Plot] = []
    others: list[Plot] = []
    seen: set[str] = set()
    for arm in sorted(arms, key=lambda arm: rank[arm.label]):
        drawn = plots.Matrix(
            title=words.strategy(arm.label), order=arm.order, risks=tuple(risks), R=arm.R, base=tuple(base)
        )
        plot = plots.matrix(drawn, name=f"matrix-{arm.name}")
        (best if len(arms) <= MOST_ROWS or arm.label not in seen else others).append(plot)
        seen.add(arm.label)
    return best, others
