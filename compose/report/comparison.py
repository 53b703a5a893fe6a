"""One setting changed at a time: what its values do to the specialists, beside each other and in paired differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compose.errors import Rejected
from compose.evaluate.statistics.bootstrap import paired_difference
from compose.report import words
from compose.report.export import rounded
from compose.report.merge import MAY_DIFFER, merge, provenance_of, warnings_of
from compose.report.pooling import on_shared_prompts
from compose.report.results import (
    PERPLEXITY_RATIO,
    REMOVED_SHARE,
    Estimate,
    MetricValue,
    RiskInfo,
    RiskMeasure,
    RunResults,
)
from compose.report.summary import Provenance, Row, Summary

REPETITION = "trigram_repetition"
REFUSALS = "refusal_rate_benign"
NO_PATCH = "no patch"
UNPAIRED = "they share no seed and prompt"
UNSET = "default"
NAMING = ("name", "kind", "model")
"""Keys that say which one of a group was taken: what else the group holds comes with it."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The specialist of one risk under one value of the setting, or what it is compared with.

    Attributes:
        value: The setting's value as text; of what is no patch its label, behind the value where it has its own.
        row: The composition over its seeds.
        difference: Of its unsafety to what `Comparison.against` names, paired by seed and prompt; None for that
            itself, and for what is not a specialist.
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
        against: What differences are to: that value, or `no patch` where bases differ and each patch is paired with its
            own base.
        merged: By value, its runs merged.
        variants: By risk: what is no patch and the same for all values, and then every value.
        provenance: Where the numbers of all runs come from.
        warnings: What a reader must know before trusting a number.
    """

    setting: str
    versus: str
    against: str
    merged: dict[str, Summary]
    variants: dict[str, tuple[Variant, ...]]
    provenance: Provenance
    warnings: tuple[str, ...]


def compare(runs: Sequence[RunResults], setting: str, versus: str | None = None) -> Comparison:
    """Return the comparison of runs that differ in nothing but a setting and their seeds.

    Runs that differ from the others in something else as well, or have no such setting, are left out: a folder may hold
    several sweeps. A key of `NAMING` stands for its whole group: `model.name` compares models, `reference.model` the
    models that teach.

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
    everyone = [run for found in by_value.values() for run in found]
    against = chosen if len({run.base.fingerprint for run in everyone}) == 1 else NO_PATCH
    return Comparison(
        setting=setting,
        versus=chosen,
        against=against,
        merged=merged,
        variants={risk.name: tuple(_variants(risk.name, merged, by_value, against)) for risk in merged[chosen].risks},
        provenance=provenance_of(everyone),
        warnings=warnings_of(everyone),
    )


def having(runs: Sequence[RunResults], setting: str, value: str) -> list[RunResults]:
    """Return the runs in which a setting has this value, written as on the command line: `[toxicity]`, `0.1`.

    Raises:
        Rejected: `results-differ` when there is none.
    """
    values = [None if (found := _taken(run.settings, setting.split("."))) is None else found[0] for run in runs]
    chosen = [run for run, own in zip(runs, values, strict=True) if own == value]
    if not chosen:
        known = sorted({own for own in values if own is not None})
        raise _refused(
            f"runs with {setting}={value}",
            "at least one",
            f"{len(runs)} runs, with {', '.join(known) or 'no such key'}",
            "choose one of these" if known else "see config.yaml of a run",
        )
    return chosen


def _sweep(runs: Sequence[RunResults], setting: str) -> dict[str, list[RunResults]]:
    """Return the runs of every value, of the one set of runs that differ in nothing else."""
    path = setting.split(".")
    taken = [(run, found) for run in runs if (found := _taken(run.settings, path)) is not None]
    if not taken:
        raise _refused(f"setting {setting}", "a key of the runs' settings", "no such key", "see config.yaml of a run")
    sets: dict[str, dict[str, list[RunResults]]] = {}
    for run, (value, rest) in taken:
        base = None if path[0] == "model" else run.base.fingerprint
        key = json.dumps([run.experiment, base, rest], sort_keys=True)
        sets.setdefault(key, {}).setdefault(value, []).append(run)
    several = [found for found in sets.values() if len(found) > 1]
    if len(several) != 1:
        raise _refused(
            f"runs by {setting}",
            "one set of runs that differ in nothing but this setting and their seeds",
            f"{len(several)} such sets in {len(runs)} runs",
            "choose one with --where KEY=VALUE, such as --where order=[toxicity], or name the runs' folders one by one"
            if several
            else "run the sweep, with at least two values",
        )
    return dict(sorted(several[0].items(), key=lambda item: _order(item[0])))


def _taken(settings: Mapping[str, Any], path: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Return a setting's value as text and the settings without it; None where there is no such key."""
    rest: dict[str, Any] = {key: value for key, value in settings.items() if key not in MAY_DIFFER}
    rest = json.loads(json.dumps(rest))
    named = len(path) > 1 and path[-1] in NAMING
    *outer, last = path[:-1] if named else path
    place: Any = rest
    for part in outer:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        return None
    value = place.pop(last)
    if named and value is not None:
        if not isinstance(value, dict) or path[-1] not in value:
            return None
        value = value[path[-1]]
    return _text(value), rest


def _text(value: Any) -> str:
    """Return a value as the command line writes it; of a mapping its name, or what its entries that are set say."""
    if isinstance(value, Mapping):
        return str(value.get("name") or " ".join(str(one) for one in value.values() if one is not None))
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return UNSET if value is None else str(value)


def _order(text: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers by size, then words."""
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _variants(
    risk: str, merged: Mapping[str, Summary], by_value: Mapping[str, Sequence[RunResults]], against: str
) -> Iterator[Variant]:
    """Yield what is no patch and the same for all, and then by value what is its own and its specialist."""
    shared: dict[str, Variant] = {}
    for value in dict.fromkeys([*([against] if against in merged else ()), *merged]):
        for row in _unpatched(merged[value]):
            if against != NO_PATCH and _alike(row.name, risk, by_value.values()):
                shared.setdefault(row.name, Variant(value=_label(row), row=row))
    yield from shared.values()
    for value, one in merged.items():
        own = [row for row in _unpatched(one) if row.name not in shared]
        yield from (Variant(value=f"{value}, {_label(row)}", row=row) for row in own)
        versus, name = (value, one.base_name) if against == NO_PATCH else (against, None)
        early = None if value == against else _measures(by_value[versus], risk, name)
        yield Variant(
            value=value,
            row=one.rows[one.specialists[risk]],
            difference=None if early is None else _difference(_measures(by_value[value], risk), early),
        )


def _unpatched(summary: Summary) -> list[Row]:
    """Return the base, and then what patches are compared with."""
    return [summary.rows[summary.base_name], *(row for row in summary.rows.values() if row.kind == "baseline")]


def _label(row: Row) -> str:
    return NO_PATCH if row.kind == "base" else row.label


def _alike(name: str, risk: str, values: Iterable[Sequence[RunResults]]) -> bool:
    """Return whether a composition did the same under every value that has it: the setting does not touch it."""
    found: dict[int, set[tuple[float, ...]]] = {}
    for run in (run for runs in values for run in runs if name in run.compositions):
        found.setdefault(run.seed, set()).add(run.compositions[name].risks[risk].safety)
    return all(len(different) == 1 for different in found.values())


def _measures(runs: Sequence[RunResults], risk: str, name: str | None = None) -> dict[int, RiskMeasure]:
    """Return by seed what a composition did on a risk, the specialist when none is named."""
    return {run.seed: run.compositions[name or run.specialists[risk]].risks[risk] for run in runs}


def _difference(late: Mapping[int, RiskMeasure], early: Mapping[int, RiskMeasure]) -> Estimate:
    """Return the mean difference in unsafety, over the seeds and prompts that both have."""
    seeds = [seed for seed in late if seed in early]
    if not seeds:
        return Estimate(value=None, reason=UNPAIRED)
    safety, groups = on_shared_prompts([[side[seed] for seed in seeds] for side in (late, early)])
    if not safety:
        return Estimate(value=None, reason=UNPAIRED)
    unsafe = [[[1 - value for value in prompts] for prompts in side] for side in safety]
    found = paired_difference(*unsafe, groups=groups)
    return Estimate(value=found.value, low=found.low, high=found.high, n=found.n)


def markdown(comparison: Comparison) -> str:
    """Return a table for each risk in Markdown, a line a value, every number with its interval."""
    parts = []
    for risk in comparison.merged[comparison.versus].risks:
        headline = (
            f"{risk.title or risk.name}: {words.metric(risk.headline, risk.judge)} {words.BETTER[risk.direction]}"
        )
        second = [f"by {risk.second_judge}", "removed, by it"] if risk.second_judge else []
        heads = [comparison.setting, headline, "removed", *second, f"unsafety against {comparison.against}"]
        heads += ["perplexity ratio", "trigram repetition", "benign requests refused", "training"]
        lines = [heads, ["---"] * len(heads)]
        lines += [_line(variant, risk, comparison.versus) for variant in comparison.variants[risk.name]]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(parts).replace("\N{NO-BREAK SPACE}", " ") + "\n"


def _line(variant: Variant, risk: RiskInfo, versus: str) -> list[str]:
    metrics = variant.row.metrics[risk.name]
    removed, difference = metrics.get(REMOVED_SHARE), variant.difference
    cells = [f"**{variant.value}**" if variant.value == versus else variant.value, _shown(metrics.get(risk.headline))]
    cells.append(_share(removed))
    if risk.second_judge:
        by_second = variant.row.second.get(risk.name, {})
        cells += [_shown(by_second.get(risk.headline)), _share(by_second.get(REMOVED_SHARE))]
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


def _share(value: MetricValue | None) -> str:
    return "" if value is None else _with(words.percent(value.value), words.percent_between(value))


def _shown(value: MetricValue | None) -> str:
    return "" if value is None else _with(*words.measured(value))


def _with(main: str, sub: str) -> str:
    return f"{main} ({sub})" if sub else main


def compact(comparison: Comparison) -> dict[str, Any]:
    """Return what is worth committing: every variant's numbers with intervals, and where they come from."""
    came = comparison.provenance
    values: dict[str, Any] = {
        "setting": comparison.setting,
        "versus": comparison.versus,
        "against": comparison.against,
        "experiment": comparison.merged[comparison.versus].experiment,
        "bases": {value: asdict(one.base) for value, one in comparison.merged.items()},
        "risks": {value: [asdict(risk) for risk in one.risks] for value, one in comparison.merged.items()},
        "variants": {risk: [asdict(variant) for variant in found] for risk, found in comparison.variants.items()},
        "warnings": comparison.warnings,
        "commits": came.commits,
        "dirty": came.dirty,
        "commands": came.commands,
        "machines": came.machines,
        "versions": came.versions,
    }
    return {name: rounded(value) for name, value in values.items()}


def _refused(subject: str, expected: str, got: str, fix: str) -> Rejected:
    return Rejected("results-differ", subject=subject, expected=expected, got=got, fix=fix)
