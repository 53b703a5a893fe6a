"""The tables of a report as rows of ready text: one set of numbers for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from string import ascii_lowercase

from compose.report import words
from compose.report.merge import merge
from compose.report.results import PERPLEXITY_RATIO, REMOVED_SHARE, Estimate, Kind, MetricValue, RunResults
from compose.report.summary import ArmRow, Row, Summary

KINDS: dict[Kind, str] = {
    "base": "Base",
    "baseline": "Without a patch",
    "specialist": "Specialists: one patch a risk",
    "algebraic": "Algebraic: computed from the specialists",
    "trained": "Trained",
}
LOSS = "forgetting: above 0, became less safe"
TRANSFER = "transfer: below 0, forgotten"
UNLEARNED = "intransigence: above 0, never learned"
TERMINAL_COLUMNS = 100
FIRST_UTILITIES = ("perplexity", "refusal_rate_benign", PERPLEXITY_RATIO)
"""The utilities in front, where a narrow page still shows them; a terminal has room for two."""


@dataclass(frozen=True)
class Cell:
    """A number as text, with its interval beneath; `note` is the letter of the table's note on it."""

    main: str
    sub: str = ""
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One row: its head, what qualifies it, and the cells; `best` marks the row the verdict names."""

    head: str
    sub: str
    cells: tuple[Cell, ...]
    best: bool = False


@dataclass(frozen=True)
class Block:
    """Rows under one heading; no heading when it is empty."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column's name, the direction that is better, and the group it stands in."""

    name: str
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table with grouped columns, blocks of rows, and notes by letter."""

    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    head: str = "Model"
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The column groups in order, each with the number of its columns."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and column.group and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found


def models(summary: Summary, *, best_orders: bool = False) -> Table:
    """Return the main table: the base, the specialists and what each arm ends with, safety beside utility.

    Args:
        summary: The runs.
        best_orders: Whether each strategy has one row, its best order, in place of one for every order.
    """
    columns = []
    for risk in summary.risks:
        group = risk.title or risk.name
        columns.append(
            Column(f"{words.metric(risk.headline, risk.judge)}\N{NO-BREAK SPACE}{words.BETTER[risk.direction]}", group)
        )
        columns.append(Column("kept" if summary.contenders else "removed", group))
        if risk.second_judge:
            columns.append(Column(f"by {risk.second_judge}", group))
            columns += [] if summary.contenders else [Column("removed, by it", group)]
    if summary.contenders:
        columns.append(Column("kept at least"))
    utilities = _utilities(summary)
    columns += [
        Column(f"{words.metric(name)}\N{NO-BREAK SPACE}{words.BETTER[way]}", "utility")
        for name, way in utilities.items()
    ]
    ends = _ends(summary)
    if best_orders:
        first = {arm.label: arm for arm in reversed(summary.arms)}
        ends = {name: arm for name, arm in ends.items() if first[arm.label] is arm or not arm.contender}
    best = next((arm.final for arm in summary.contenders if arm.worst.value is not None and not arm.broken), None)
    blocks = []
    notes: dict[str, str] = {}
    for kind, title in KINDS.items():
        lines = []
        for row in _ranked(summary, kind, ends):
            line = _model(summary, row, ends.get(row.name), list(utilities), notes)
            lines.append(replace(line, best=row.name == best))
        if lines:
            blocks.append(Block(title, tuple(lines)))
    return Table(tuple(columns), tuple(blocks), notes=notes)


def _ends(summary: Summary) -> dict[str, ArmRow]:
    """Return the arm behind each final composition, the best ranked where several end alike."""
    return {arm.final: arm for arm in reversed(summary.arms)}


def _utilities(summary: Summary) -> dict[str, str]:
    found = {name: value.direction for row in summary.rows.values() for name, value in row.utility.items()}
    first = [name for name in FIRST_UTILITIES if name in found]
    return {name: found[name] for name in [*first, *(name for name in found if name not in first)]}


def _ranked(summary: Summary, kind: Kind, ends: dict[str, ArmRow]) -> list[Row]:
    """Return the rows of one kind: base and specialists as they come, the others as their arms are ranked."""
    rows = [row for row in summary.rows.values() if row.kind == kind]
    if kind == "base":
        return [row for row in rows if row.name == summary.base_name]
    if kind == "baseline":
        return rows
    if kind == "specialist":
        place = {summary.specialists.get(risk.name): index for index, risk in enumerate(summary.risks)}
        return sorted(rows, key=lambda row: (place.get(row.name, len(place)), row.name))
    rank = {arm.final: index for index, arm in enumerate(summary.arms)}
    joint_first = {summary.joint: -1}
    final = [row for row in rows if row.name in ends]
    return sorted(final, key=lambda row: joint_first.get(row.name, rank[row.name]))


def _model(
    summary: Summary,
    row: Row,
    arm: ArmRow | None,
    utilities: list[str],
    notes: dict[str, str],
    *,
    second: bool = True,
) -> Line:
    """Return one model's row; `second` says whether it has the second judges' columns."""
    cells = []
    for risk in summary.risks:
        headline = row.metrics[risk.name].get(risk.headline)
        cells.append(Cell(*words.measured(headline)) if headline else Cell(words.DASH))
        if summary.contenders:
            cells.append(_kept(arm.retention[risk.name] if arm else None, notes))
        else:
            cells.append(_removed(row.metrics[risk.name].get(REMOVED_SHARE)))
        if risk.second_judge and second:
            found = row.second.get(risk.name, {})
            cells.append(Cell(*words.measured(found[risk.headline])) if risk.headline in found else Cell(words.DASH))
            cells += [] if summary.contenders else [_removed(found.get(REMOVED_SHARE))]
    if summary.contenders:
        # A specialist is made for one risk: its weakest one says nothing about it.
        cells.append(_kept(arm.worst if arm and row.kind != "specialist" else None, notes))
    cells += [Cell(*words.measured(row.utility[name])) if name in row.utility else Cell("") for name in utilities]
    named = arm is not None and row.kind not in ("base", "specialist")
    about = [words.order(arm.order)] if arm and named and words.ordered(arm) else []
    about += ["broken"] if arm is not None and arm.broken else []
    about += [f"{row.tokens}\N{NO-BREAK SPACE}tokens"] if row.tokens else []
    if len(row.seeds) != len(summary.seeds):
        about.append(f"{len(row.seeds)} of {len(summary.seeds)} seeds")
    head = words.strategy(arm.label) if arm and named else row.label
    return Line(head, ", ".join(about), tuple(cells))


def _removed(share: MetricValue | None) -> Cell:
    """Return which share of the base's unsafety is gone."""
    if share is None or share.value is None:
        return Cell("")
    return Cell(words.percent(share.value), words.percent_between(share))


def _kept(estimate: Estimate | None, notes: dict[str, str]) -> Cell:
    """Return a retention as a cell; what must be known of it becomes one of the notes, each said once."""
    if estimate is None:
        return Cell("")
    note = ""
    if estimate.reason:
        letter = {text: letter for letter, text in notes.items()}
        note = letter.get(estimate.reason, ascii_lowercase[len(notes) % len(ascii_lowercase)])
        notes[note] = estimate.reason
    main = "undefined" if estimate.value is None else words.percent(estimate.value)
    return Cell(main, words.percent_between(estimate), note)


def metrics(summary: Summary) -> list[tuple[str, Table]]:
    """Return one table a risk with every metric of every measured composition, and one of utilities."""
    tables = []
    for risk in summary.risks:
        names = {
            name: value.direction for row in summary.rows.values() for name, value in row.metrics[risk.name].items()
        }
        columns = [
            Column(f"{words.metric(name, risk.judge)}\N{NO-BREAK SPACE}{words.BETTER[way]}")
            for name, way in names.items()
        ]
        lines = []
        for row in by_kind(summary):
            found = row.metrics[risk.name]
            safety = row.safety[risk.name]
            cells = [Cell(words.number(safety.value), words.between(safety.low, safety.high))]
            cells += [Cell(*words.measured(found[name])) if name in found else Cell("") for name in names]
            lines.append(Line(row.label, row.name, tuple(cells)))
        title = f"{summary.title(risk.name)}: {risk.n_test} prompts, {words.counted(risk.k, 'sample')} each, "
        title += f"judge {risk.judge} {words.version(risk.judge_version)}"
        if risk.second_judge:
            title += f", second judge {risk.second_judge} {words.version(risk.second_judge_version)}"
        table = Table(
            (Column(f"safety\N{NO-BREAK SPACE}{words.BETTER['higher']}"), *columns), (Block("", tuple(lines)),)
        )
        tables.append((title, table))
    return tables


def by_kind(summary: Summary) -> Iterable[Row]:
    """Return every measured composition: the base, what has no patch, specialists, then the arms'."""
    order = list(KINDS)
    return sorted(summary.rows.values(), key=lambda row: (order.index(row.kind), row.label, row.name))


def forgetting(summary: Summary) -> Table:
    """Return forgetting by each named convention, and intransigence by risk, for arms of several stages."""
    arms = [arm for arm in summary.arms if len(arm.stages) > 1]
    conventions = sorted(
        {name for arm in arms for name in arm.forgetting}, key=lambda name: ("forgetting" not in name, name)
    )
    learned = [risk for risk in summary.risks if any(risk.name in arm.intransigence for arm in arms)]
    columns = [
        Column(words.metric(name.removeprefix("forgetting_")), LOSS if "forgetting" in name else TRANSFER)
        for name in conventions
    ]
    columns += [Column(risk.title or risk.name, UNLEARNED) for risk in learned]
    lines = []
    for arm in arms:
        found = [arm.forgetting.get(name) for name in conventions]
        found += [arm.intransigence.get(risk.name) for risk in learned]
        cells = (
            Cell(words.number(one.value), words.between(one.low, one.high)) if one else Cell(words.DASH)
            for one in found
        )
        lines.append(Line(words.arm(arm), "", tuple(cells)))
    return Table(tuple(columns), (Block("", tuple(lines)),), head="Arm")


def markdown(summary: Summary) -> str:
    """Return the main table as Markdown, one row a model, each number with its interval behind it.

    Of the utilities it has the first ones: a page has no room for all.
    """
    table = models(summary)
    shown = len(table.columns) - max(0, len(_utilities(summary)) - len(FIRST_UTILITIES))
    # Two columns of one name can stand in different groups, and Markdown has no groups.
    heads = [f"{one.group}: {one.name}" if one.group else one.name for one in table.columns[:shown]]
    lines = [[table.head, *heads], ["---"] * (1 + len(heads))]
    for line in (line for block in table.blocks for line in block.lines):
        head = f"{line.head}, {line.sub}" if line.sub else line.head
        cells = (f"{cell.main} ({cell.sub})" if cell.sub else cell.main for cell in line.cells[:shown])
        lines.append([head, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("\N{NO-BREAK SPACE}", " ") + "\n"


def terminal(results: RunResults | Summary) -> str:
    """Return the main table as text of at most 100 columns, the base first, the arms by their weakest risk.

    Each risk has its headline metric and, in per cent, what is kept of its specialist's gain; where no arm competes
    for that, how much of the base's unsafety is gone. The second judges' numbers are on the page.
    """
    summary = merge([results]) if isinstance(results, RunResults) else results
    utilities = list(_utilities(summary))[:2]
    kept = "kept" if summary.contenders else "gone"
    heads = [head for risk in summary.risks for head in (risk.name[:6], kept)]
    heads += [*(["least"] if summary.contenders else []), *(words.metric(name)[:10].rstrip() for name in utilities)]
    lines = [("model", heads)]
    ends = _ends(summary)
    for kind in KINDS:
        for row in _ranked(summary, kind, ends):
            arm = ends.get(row.name)
            cells = [cell.main for cell in _model(summary, row, arm, utilities, {}, second=False).cells]
            lines.append((_terminal_label(row, arm), cells))
    # A number is never cut: where one is long, the names have less room.
    widths = [max(5, *map(len, column)) for column in zip(*(cells for _, cells in lines), strict=True)]
    room = TERMINAL_COLUMNS - sum(width + 1 for width in widths)
    out = [
        f"{head[:room]:<{room}}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for head, cells in lines
    ]
    return "\n".join([out[0], "-" * TERMINAL_COLUMNS, *out[1:]]) + "\n"


def _terminal_label(row: Row, arm: ArmRow | None) -> str:
    if arm is None or row.kind in ("base", "specialist"):
        return row.label
    return f"{arm.label} {'>'.join(risk[:4] for risk in arm.order)}"
