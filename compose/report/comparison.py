"""One setting changed at a time: what its values do to the specialists, beside each other and in paired differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compose.errors import Rejected
from compose.evaluate.statistics.bootstrap import paired_difference
from compose.report import words
from compose.report.export import rounded
from compose.report.merge import MAY_DIFFER, merge
from compose.report.pooling import on_shared_prompts
from compose.report.results import PERPLEXITY_RATIO, REMOVED_SHARE, Estimate, MetricValue, RiskInfo, RunResults
from compose.report.summary import Row, Summary

REPETITION = "trigram_repetition"
REFUSALS = "refusal_rate_benign"
UNPAIRED = "they share no seed and prompt"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The specialist of one risk under one value of the setting, or what it is compared with.

    Attributes:
        value: The setting's value as text; the composition's label for one that the setting does not touch.
        row: The composition over its seeds.
        difference: Of its unsafety to the chosen value's, paired by seed and prompt; None for that value itself, and
            for what is not a specialist.
    """

    value: str
    row: Row
    difference: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All values of one setting.

    Attributes:
        setting: Its key, with dots.
        versus: The value that the others are paired with.
        summary: The runs of that value, merged.
        variants: By risk: the base, what is no patch, and then every value.
        commands: The commands that made the runs.
        commits: The commits they were made at.
        dirty: Whether any was made by code with changes on top.
    """

    setting: str
    versus: str
    summary: Summary
    variants: dict[str, tuple[Variant, ...]]
    commands: tuple[str, ...]
    commits: tuple[str, ...]
    dirty: bool


def compare(runs: Sequence[RunResults], setting: str, versus: str | None = None) -> Comparison:
    """Return the comparison of runs that differ in nothing but a setting and their seeds.

    Runs that differ from the others in something else as well are left out: a folder may hold several sweeps.

    Args:
        runs: Finished runs.
        setting: Its key, with dots.
        versus: The value that the others are paired with, as text; the first in order when None.

    Raises:
        Rejected: `results-differ` when no two values, or more than one set of runs, are left, for an unknown setting
            or value, and when the runs of one value cannot be merged.
    """
    by_value = _sweep(runs, setting)
    chosen = versus or next(iter(by_value))
    if chosen not in by_value:
        raise _refused(f"--versus {versus}", f"one of {', '.join(by_value)}", "another value", "choose one of these")
    merged = {value: merge(found) for value, found in by_value.items()}
    summary = merged[chosen]
    variants = {risk.name: tuple(_variants(risk, merged, by_value, chosen)) for risk in summary.risks}
    everyone = [run for found in by_value.values() for run in found]
    return Comparison(
        setting=setting,
        versus=chosen,
        summary=summary,
        variants=variants,
        commands=tuple(dict.fromkeys(run.command for run in everyone)),
        commits=tuple(dict.fromkeys(run.commit for run in everyone)),
        dirty=any(run.dirty for run in everyone),
    )


def _sweep(runs: Sequence[RunResults], setting: str) -> dict[str, list[RunResults]]:
    """Return the runs of every value, of the one set of runs that differ in nothing else."""
    sets: dict[str, dict[str, list[RunResults]]] = {}
    for run in runs:
        rest = json.loads(json.dumps({key: value for key, value in run.settings.items() if key not in MAY_DIFFER}))
        value = _taken(rest, setting.split("."))
        key = json.dumps([run.experiment, run.base.fingerprint, rest], sort_keys=True)
        sets.setdefault(key, {}).setdefault(_text(value), []).append(run)
    several = [found for found in sets.values() if len(found) > 1]
    if len(several) != 1:
        raise _refused(
            f"runs by {setting}",
            "one set of runs that differ in nothing but this setting and their seeds",
            f"{len(several)} such sets in {len(runs)} runs",
            "name the runs' folders one by one" if several else "run the sweep, with at least two values",
        )
    return dict(sorted(several[0].items(), key=lambda item: _order(item[0])))


def _taken(settings: Any, path: Sequence[str]) -> Any:
    """Return the value at a path, which is removed."""
    for part in path[:-1]:
        settings = settings.get(part) if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or path[-1] not in settings:
        raise _refused(
            f"setting {'.'.join(path)}", "a key of the runs' settings", "no such key", "see config.yaml of a run"
        )
    return settings.pop(path[-1])


def _text(value: Any) -> str:
    """Return a value as it is written; of a mapping what its entries that are set say."""
    if isinstance(value, Mapping):
        return " ".join(str(one) for one in value.values() if one is not None)
    return str(value)


def _order(text: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers by size, then words."""
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _variants(
    risk: RiskInfo, merged: Mapping[str, Summary], by_value: Mapping[str, Sequence[RunResults]], chosen: str
) -> Iterator[Variant]:
    """Yield the base, what is no patch, and the specialist under every value."""
    summary = merged[chosen]
    yield Variant(value="no patch", row=summary.rows[summary.base_name])
    for row in summary.rows.values():
        if row.kind == "baseline":
            yield Variant(value=row.label, row=row)
    for value, one in merged.items():
        yield Variant(
            value=value,
            row=one.rows[one.specialists[risk.name]],
            difference=None if value == chosen else _difference(risk.name, by_value[value], by_value[chosen]),
        )


def _difference(risk: str, late: Sequence[RunResults], early: Sequence[RunResults]) -> Estimate:
    """Return the mean difference in unsafety, over the seeds and prompts that both have."""
    measures = [
        {run.seed: run.compositions[run.specialists[risk]].risks[risk] for run in runs} for runs in (late, early)
    ]
    seeds = [seed for seed in measures[0] if seed in measures[1]]
    if not seeds:
        return Estimate(value=None, reason=UNPAIRED)
    safety, groups = on_shared_prompts([[side[seed] for seed in seeds] for side in measures])
    if not safety:
        return Estimate(value=None, reason=UNPAIRED)
    unsafe = [[[1 - value for value in prompts] for prompts in side] for side in safety]
    found = paired_difference(*unsafe, groups=groups)
    return Estimate(value=found.value, low=found.low, high=found.high, n=found.n)


def markdown(comparison: Comparison) -> str:
    """Return a table for each risk in Markdown, a line a value, every number with its interval."""
    parts = []
    for risk in comparison.summary.risks:
        headline = f"{risk.title or risk.name}: {words.metric(risk.headline)} {words.BETTER[risk.direction]}"
        heads = [comparison.setting, headline, "removed", f"unsafety against {comparison.versus}"]
        heads += ["perplexity ratio", "trigram repetition", "benign requests refused", "training"]
        lines = [heads, ["---"] * len(heads)]
        lines += [_line(variant, risk, comparison.versus) for variant in comparison.variants[risk.name]]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(parts).replace("\N{NO-BREAK SPACE}", " ") + "\n"


def _line(variant: Variant, risk: RiskInfo, versus: str) -> list[str]:
    metrics = variant.row.metrics[risk.name]
    removed, difference = metrics.get(REMOVED_SHARE), variant.difference
    cells = [f"**{variant.value}**" if variant.value == versus else variant.value, _shown(metrics.get(risk.headline))]
    cells.append("" if removed is None else _with(words.percent(removed.value), words.percent_between(_plain(removed))))
    cells.append(
        ""
        if difference is None
        else _with(words.number(difference.value), words.between(difference.low, difference.high))
    )
    cells.append(_shown(variant.row.utility.get(PERPLEXITY_RATIO)))
    cells.append(words.number(metrics[REPETITION].value) if REPETITION in metrics else "")
    cells.append(_shown(variant.row.utility.get(REFUSALS)))
    seconds = variant.row.cost.get("train_seconds")
    cells.append("" if seconds is None else words.duration(seconds))
    return cells


def _plain(value: MetricValue) -> Estimate:
    return Estimate(value=value.value, low=value.low, high=value.high, n=value.n)


def _shown(value: MetricValue | None) -> str:
    return "" if value is None else _with(*words.measured(value))


def _with(main: str, sub: str) -> str:
    return f"{main} ({sub})" if sub else main


def compact(comparison: Comparison) -> dict[str, Any]:
    """Return what is worth committing: every variant's numbers with intervals, and where they come from."""
    came = comparison.summary.provenance
    values: dict[str, Any] = {
        "setting": comparison.setting,
        "versus": comparison.versus,
        "experiment": comparison.summary.experiment,
        "base": asdict(comparison.summary.base),
        "risks": [asdict(risk) for risk in comparison.summary.risks],
        "variants": {risk: [asdict(variant) for variant in found] for risk, found in comparison.variants.items()},
        "warnings": comparison.summary.warnings,
        "commits": comparison.commits,
        "dirty": comparison.dirty,
        "commands": comparison.commands,
        "machines": came.machines,
        "versions": came.versions,
    }
    return {name: rounded(value) for name, value in values.items()}


def _refused(subject: str, expected: str, got: str, fix: str) -> Rejected:
    return Rejected("results-differ", subject=subject, expected=expected, got=got, fix=fix)
