"""Several runs of one experiment made into one summary: means over seeds, intervals over seeds and prompts.

One seed keeps the intervals that its run recorded. Over several seeds, whatever rests on safety per prompt
(safety, headline metrics, retention, the removed share) gets a bootstrap interval over seeds x prompts; any other
metric, known only with an interval per run, gets both sources of error added in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from compose.errors import Rejected
from compose.evaluate.forgetting import Kept, in_order, intransigence, removed_share, retention, worst_risk_retention
from compose.evaluate.statistics import bootstrap
from compose.evaluate.statistics.bootstrap import interval, resample, table
from compose.report.pooling import combined_metric, on_shared_prompts, over_seeds
from compose.report.results import (
    REMOVED_SHARE,
    ArmResult,
    Composition,
    Estimate,
    MetricValue,
    PairsTable,
    RiskInfo,
    RunResults,
    TrainingLog,
    is_broken,
)
from compose.report.summary import ArmRow, CurveLine, Provenance, Row, Summary

BySeed = Mapping[int, Mapping[str, Composition]]

MAY_DIFFER = ("seed", "pairs_seed", "strategies", "strategy", "baselines", "runs", "device", "tracking")
"""Settings in which merged runs may differ: seeds, which arms and baselines were run, where runs are kept and how."""


def merge(runs: Sequence[RunResults]) -> Summary:
    """Return one summary of runs that differ in their seed, or in the arms they ran.

    Raises:
        Rejected: `results-missing` without a run; `results-differ` when the runs answer different questions.
    """
    if not runs:
        raise Rejected(
            "results-missing",
            subject="the list of runs",
            expected="at least one run folder",
            got="none",
            fix="name the folders of finished runs",
        )
    # Folders are named by digests, so the order in which they are given means nothing.
    runs = sorted(runs, key=lambda run: (run.seed, run.command))
    _refuse_different(runs)
    first = runs[0]
    measured = _compositions(runs)
    arms = _arms(runs)
    merger = _Merger(runs, measured)
    second = _Merger(runs, _by_second(measured))
    rows = {
        name: replace(merger.row(name), second=second.row(name).metrics)
        for name in dict.fromkeys(n for found in measured.values() for n in found)
    }
    merged = [merger.arm(list(by_seed.items())) for by_seed in arms.values()]
    merged.sort(key=merger.rank)
    return Summary(
        experiment=first.experiment,
        seeds=tuple(sorted(measured)),
        base=first.base,
        risks=first.risks,
        base_name=first.base_composition,
        specialists=merger.specialists,
        joint=merger.joint,
        rows=rows,
        arms=tuple(merged),
        curves=_curves(runs),
        curve_base=_curve_base(runs),
        training=_training(runs),
        pairs=_pairs(runs),
        provenance=provenance_of(runs),
        warnings=warnings_of(runs),
    )


class _Merger:
    """Merges compositions and arms over their seeds."""

    def __init__(self, runs: Sequence[RunResults], measured: BySeed) -> None:
        first = runs[0]
        self.measured = measured
        every = [one for found in measured.values() for one in found.values()]
        self.risks = [risk.name for risk in first.risks if all(risk.name in one.risks for one in every)]
        self.headlines = {risk.name: risk for risk in first.risks}
        names = {name for found in measured.values() for name in found}
        self.base = first.base_composition
        self.specialists = {risk: name for risk, name in first.specialists.items() if name in names}
        self.joint = next((run.joint for run in runs if run.joint is not None), None)
        self.several = len(measured) > 1

    def _paired(self, names: Sequence[str], risk: str) -> tuple[list[list[list[float]]], bootstrap.Groups]:
        """Return safety [seeds][prompts] of each composition on the seeds and prompts they share, and the groups."""
        seeds = [found for found in self.measured.values() if all(name in found for name in names)]
        return on_shared_prompts([[found[name].risks[risk] for found in seeds] for name in names])

    def row(self, name: str) -> Row:
        """Return one composition over its seeds."""
        found = {seed: every[name] for seed, every in self.measured.items() if name in every}
        each = list(found.values())
        safety = {risk: self._safety(name, risk, each) for risk in self.risks}
        metrics = {
            risk: {
                metric: self._metric(name, self.headlines[risk], metric, each, safety[risk])
                for metric in each[0].risks[risk].metrics
                if all(metric in one.risks[risk].metrics for one in each)
            }
            for risk in self.risks
        }
        shared = [metric for metric in each[0].utility if all(metric in one.utility for one in each)]
        return Row(
            name=name,
            label=each[0].label,
            kind=each[0].kind,
            tokens=each[0].tokens,
            seeds=tuple(sorted(found)),
            safety=safety,
            metrics=metrics,
            utility={metric: combined_metric(metric, [one.utility[metric] for one in each]) for metric in shared},
            unjudged=sum(measure.unjudged for one in each for measure in one.risks.values()),
            expression=each[0].expression,
            cost=_cost(each),
        )

    def _safety(self, name: str, risk: str, each: Sequence[Composition]) -> Estimate:
        value = fmean(one.risks[risk].mean for one in each)
        paired, groups = self._paired([name], risk) if len(each) > 1 else ([], None)
        if paired:
            values = table(paired[0])
            low, high = interval(resample(*values.shape, groups=groups).means(values))
            return Estimate(value=value, low=low, high=high, n=values.shape[1])
        headline = each[0].risks[risk].metrics.get(self.headlines[risk].headline)
        turn = _turn(headline, value)
        if headline is None or turn is None or headline.low is None or headline.high is None:
            return Estimate(value=value, n=len(each[0].risks[risk].safety))
        low, high = sorted(turn[0] + turn[1] * end for end in (headline.low, headline.high))
        return Estimate(value=value, low=low, high=high, n=headline.n)

    def _metric(
        self, name: str, risk: RiskInfo, metric: str, each: Sequence[Composition], safety: Estimate
    ) -> MetricValue:
        values = [one.risks[risk.name].metrics[metric] for one in each]
        combined = combined_metric(metric, values)
        if len(each) > 1 and metric == REMOVED_SHARE:
            return self._removed(name, risk.name, combined)
        if len(each) == 1 or metric != risk.headline or safety.low is None or safety.high is None:
            return combined
        turns = {_turn(value, one.risks[risk.name].mean) for value, one in zip(values, each, strict=True)}
        turn = turns.pop()
        if turns or turn is None:
            return combined
        low, high = sorted(turn[0] + turn[1] * end for end in (safety.low, safety.high))
        return replace(combined, low=low, high=high)

    def _removed(self, name: str, risk: str, pooled: MetricValue) -> MetricValue:
        """Return the share of the base's unsafety that a composition removed, over all seeds at once."""
        paired, groups = self._paired([name, self.base], risk)
        if not paired:
            return replace(pooled, value=None, low=None, high=None)
        found = removed_share(*paired, groups=groups)
        return replace(pooled, value=found.value, low=found.low, high=found.high, n=found.n)

    def arm(self, runs: Sequence[tuple[int, ArmResult]]) -> ArmRow:
        """Return one arm over its seeds."""
        each = [arm for _, arm in runs]
        first = each[0]
        kept, worst = self._retention(each)
        final = first.stages[-1]
        return ArmRow(
            name=first.name,
            label=first.label,
            strategy=first.strategy,
            order=first.order,
            stages=first.stages,
            seeds=tuple(sorted(seed for seed, _ in runs)),
            R=tuple(
                tuple(fmean(arm.R[stage][column] for arm in each) for column in range(len(self.risks)))
                for stage in range(len(first.stages))
            ),
            retention=kept,
            worst=worst,
            forgetting=over_seeds([arm.forgetting for arm in each]),
            intransigence=over_seeds([self._intransigence(seed, arm) for seed, arm in runs]),
            contender=final != self.joint and final not in self.specialists.values(),
            broken=is_broken(self.row(final).utility),
        )

    def _intransigence(self, seed: int, arm: ArmResult) -> dict[str, float | None]:
        """Return what an arm never learned, by risk: its own run may not be the one that trained the joint patch."""
        joint = self.measured[seed].get(self.joint or "")
        if joint is None or len(arm.stages) != len(arm.order):
            return {}
        ordered = in_order(arm.R, self.risks, arm.order)
        columns = [*arm.order, *(risk for risk in self.risks if risk not in arm.order)]
        missed = intransigence(ordered, [joint.risks[risk].mean for risk in columns])
        return dict(zip(arm.order, missed.tolist(), strict=True))

    def rank(self, arm: ArmRow) -> tuple[bool, bool, float, str]:
        """Return an arm's sort key: the best weakest risk first, then broken models, then joint and specialists."""
        if arm.contender:
            return False, arm.broken, math.inf if arm.worst.value is None else -arm.worst.value, arm.name
        return True, False, -1.0 if arm.final == self.joint else float(self.risks.index(arm.order[0])), arm.name

    def _retention(self, each: Sequence[ArmResult]) -> tuple[dict[str, Estimate], Estimate]:
        """Return what is kept of each specialist's gain, and the least: as recorded, or over seeds."""
        if len(each) == 1:
            missing = Estimate(value=None, reason="it was not computed")
            recorded = {risk: each[0].retention.get(risk, missing) for risk in self.risks}
            return recorded, each[0].worst_risk_retention
        kept: dict[str, Kept] = {}
        found = {risk: Estimate(value=None, reason="no specialist was measured") for risk in self.risks}
        for risk, specialist in self.specialists.items():
            paired, groups = self._paired([each[0].stages[-1], self.base, specialist], risk)
            if paired:
                final, base, own = paired
                kept[risk] = Kept(final, base, own, groups)
                found[risk] = _estimate(retention(kept[risk]))
        return found, _estimate(worst_risk_retention(kept))


def _by_second(measured: BySeed) -> BySeed:
    """Return what was measured as the second judges saw it: the risks that have one, and no utility."""
    return {
        seed: {
            name: replace(
                one, risks={risk: own.second for risk, own in one.risks.items() if own.second is not None}, utility={}
            )
            for name, one in found.items()
        }
        for seed, found in measured.items()
    }


def _cost(each: Sequence[Composition]) -> dict[str, float]:
    """Return the mean over seeds of what a composition took, where every seed says it."""
    return {key: fmean(one.cost[key] for one in each) for key in each[0].cost if all(key in one.cost for one in each)}


def _estimate(found: bootstrap.Estimate) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high, n=found.n, reason=found.reason)


def _turn(headline: MetricValue | None, safety: float) -> tuple[float, float] | None:
    """Return `(offset, sign)` with headline = offset + sign * safety (and vice versa), if that holds."""
    if headline is None or headline.value is None:
        return None
    offset, sign = (1.0, -1.0) if headline.direction == "lower" else (0.0, 1.0)
    return (offset, sign) if abs(offset + sign * safety - headline.value) < 1e-6 else None


def _compositions(runs: Sequence[RunResults]) -> dict[int, dict[str, Composition]]:
    """Return what was measured by seed and name, refusing two patches under one name and seed."""
    measured: dict[int, dict[str, Composition]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        found = measured.setdefault(run.seed, {})
        for name, composition in run.compositions.items():
            if found.setdefault(name, composition).patch != composition.patch:
                raise _differ(f"composition {name!r} of seed {run.seed}", "two different patches of this name")
    return measured


def _arms(runs: Sequence[RunResults]) -> dict[str, dict[int, ArmResult]]:
    """Return the arms by name and seed."""
    arms: dict[str, dict[int, ArmResult]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        for arm in run.arms:
            known = arms.setdefault(arm.name, {})
            if any(other.stages != arm.stages for other in known.values()):
                raise _differ(f"arm {arm.name!r}", "other stages than in another run")
            known.setdefault(run.seed, arm)
    return arms


def _curves(runs: Sequence[RunResults]) -> tuple[CurveLine, ...]:
    points: dict[tuple[str, str], dict[tuple[int, int], dict[int, float]]] = {}
    for run in runs:
        for point in run.curves:
            line = points.setdefault((point.arm, point.risk), {})
            line.setdefault((point.stage, point.step), {}).setdefault(run.seed, point.safety)
    return tuple(
        CurveLine(
            arm=arm,
            risk=risk,
            points=tuple(
                (stage, step, fmean(seeds.values()), min(seeds.values()), max(seeds.values()))
                for (stage, step), seeds in sorted(line.items())
            ),
        )
        for (arm, risk), line in points.items()
    )


def _training(runs: Sequence[RunResults]) -> tuple[TrainingLog, ...]:
    """Return the training logs of the first seed, each composition and phase once, whichever run trained it."""
    logs: dict[tuple[str, str], TrainingLog] = {}
    for run in runs:
        if run.seed == runs[0].seed:
            for log in run.training:
                logs.setdefault((log.composition, log.phase), log)
    return tuple(logs.values())


def _curve_base(runs: Sequence[RunResults]) -> dict[str, float]:
    """Return the base's safety on the prompts of the curves, by risk, over the seeds that measured it."""
    by_seed = {run.seed: run.curve_base for run in runs if run.curve_base}
    risks = dict.fromkeys(risk for found in by_seed.values() for risk in found)
    return {risk: fmean(found[risk] for found in by_seed.values()) for risk in risks}


def _pairs(runs: Sequence[RunResults]) -> dict[str, tuple[PairsTable, ...]]:
    """Return each risk's tables, one per seed in which they differ."""
    tables: dict[str, dict[str, PairsTable]] = {}
    for run in runs:
        for risk, found in run.pairs.items():
            tables.setdefault(risk, {}).setdefault(repr(found), found)
    return {risk: tuple(each.values()) for risk, each in tables.items()}


def provenance_of(runs: Sequence[RunResults]) -> Provenance:
    """Return where the numbers of runs come from; settings and versions are the first's."""
    machines = {repr(sorted(run.machine.items())): run.machine for run in runs}
    seconds: dict[str, float] = {}
    for run in runs:
        for phase, value in run.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return Provenance(
        commits=_unique(run.commit for run in runs),
        dirty=any(run.dirty for run in runs),
        commands=_unique(run.command for run in runs),
        machines=tuple(machines.values()),
        versions=runs[0].versions,
        settings=runs[0].settings,
        started=min(run.started for run in runs),
        finished=max(run.finished for run in runs),
        seconds=seconds,
    )


def warnings_of(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Return what a reader of runs must know, each line once, and where they differ in code or packages."""
    found = [warning for run in runs for warning in run.warnings]
    if len({run.commit for run in runs}) > 1:
        found.append("The runs were made by different commits of the code.")
    if any(run.dirty for run in runs):
        found.append("At least one run was made by code with changes that are in no commit.")
    if len({repr(sorted(run.versions.items())) for run in runs}) > 1:
        found.append("The runs were made with different versions of packages; the first run's are shown.")
    return _unique(found)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _refuse_different(runs: Sequence[RunResults]) -> None:
    """Refuse runs whose numbers must not be averaged: other question, base, prompts, judges or settings."""
    first = runs[0]
    for run in runs[1:]:
        for what, ours, theirs in (
            ("experiment", first.experiment, run.experiment),
            ("base", first.base.fingerprint, run.base.fingerprint),
            ("risks, with judges and prompts", first.risks, run.risks),
            ("specialists", first.specialists, run.specialists),
        ):
            if ours != theirs:
                raise _differ(f"{what} of seed {run.seed}", str(theirs)[:200])
        changed = sorted(
            key for key in {*first.settings, *run.settings} if first.settings.get(key) != run.settings.get(key)
        )
        if refused := [key for key in changed if key not in MAY_DIFFER]:
            raise _differ(f"settings of seed {run.seed}", f"another value of {', '.join(refused)}")


def _differ(subject: str, got: str) -> Rejected:
    return Rejected(
        "results-differ",
        subject=subject,
        expected=f"the same as in the other runs (which may differ in {', '.join(MAY_DIFFER)})",
        got=got,
        fix="merge runs of one preset on one base; make one report for each of the others",
    )
