"""From measurements to a run's record: compositions, R matrices, what was kept and what was forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compose.evaluate.forgetting import (
    CONVENTIONS,
    Kept,
    fwt_gem,
    in_order,
    intransigence,
    removed_share,
    retention,
    stability_gap,
    worst_risk_retention,
)
from compose.evaluate.judges import Judge
from compose.evaluate.metrics import Metric
from compose.evaluate.results import BASE, Measurement, RiskResult, paired
from compose.evaluate.risks import Risk
from compose.evaluate.statistics.bootstrap import Estimate as Derived
from compose.evaluate.utility import perplexity_ratio
from compose.laboratory.baselines import Baseline
from compose.laboratory.curves import Curves
from compose.laboratory.realise import Made
from compose.report.results import (
    PERPLEXITY_RATIO,
    REMOVED_SHARE,
    ArmResult,
    Composition,
    CurvePoint,
    Estimate,
    Kind,
    MetricValue,
    PairFilter,
    PairsTable,
    RiskInfo,
    RiskMeasure,
    TrainingLog,
    is_broken,
)
from compose.strategies import Arm, ComposeStage, Stage
from compose.strategies.plan import is_specialist
from compose.training.pairs import PairSet

REPETITION = "trigram_repetition"
NOT_MEASURED = "the risk has no specialist in this run"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything that a run measured, by composition.

    Args:
        risks: The risks in the order of R's columns.
        arms: The arms.
        made: Every stage, realised.
        base: The unpatched base's measurement.
        stages: Every stage's measurement.
        baselines: What patches are compared with beside the base, by composition.
        curves: Evaluations inside the stages.
    """

    risks: Sequence[Risk]
    arms: Sequence[Arm]
    made: Mapping[Stage, Made]
    base: Measurement
    stages: Mapping[Stage, Measurement]
    curves: Curves = field(default_factory=Curves)
    baselines: Mapping[str, Baseline] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Return the names of the risks, in the order of R's columns."""
        return [risk.name for risk in self.risks]

    @property
    def specialists(self) -> dict[str, Stage]:
        """Return each risk's specialist."""
        return {stage.risks[0]: stage for arm in self.arms for stage in arm.stages if is_specialist(stage)}

    @property
    def joint(self) -> tuple[str, Stage] | None:
        """Return the jointly trained composition with its name, if the run has one."""
        return next(((arm.name, arm.stages[-1]) for arm in self.arms if arm.strategy == "joint"), None)


def compositions(measured: Measured) -> dict[str, Composition]:
    """Return every measured composition by its name, the unpatched base first."""
    found = {BASE: _composition(measured.base, None, label="no patch", kind="base", tokens=0, patch=None)}
    for arm in measured.arms:
        for index, stage in enumerate(arm.stages):
            card = measured.made[stage].patch.card
            found.setdefault(
                arm.stage_name(index),
                _composition(
                    measured.stages[stage],
                    measured.base,
                    label=_label(arm, index),
                    kind=_kind(stage),
                    tokens=card.tokens,
                    patch=card.prefix,
                    expression=card.expression or "",
                    cost=_cost(measured.made[stage]),
                ),
            )
    for name, one in measured.baselines.items():
        found[name] = _composition(
            one.measurement,
            measured.base,
            label=one.label,
            kind="baseline",
            tokens=0,
            patch=None,
            cost=dict(one.cost),
        )
    return found


def _cost(made: Made) -> dict[str, float]:
    """Return what a patch took: its numbers, and where it was trained, how long."""
    card = made.patch.card
    found: dict[str, float] = {"parameters": card.tokens * card.dim}
    return found if made.trained is None else found | {"train_seconds": made.trained.seconds}


def arm_results(measured: Measured) -> tuple[ArmResult, ...]:
    """Return every arm's R matrix and what follows from it."""
    return tuple(_arm(arm, measured) for arm in measured.arms)


def training_logs(measured: Measured) -> tuple[TrainingLog, ...]:
    """Return what the trainer logged, one log a composition and phase."""
    logs: dict[tuple[str, str], list[dict[str, float]]] = {}
    done: set[Stage] = set()
    for arm in measured.arms:
        for index, stage in enumerate(arm.stages):
            trained = measured.made[stage].trained
            if trained is None or stage in done:
                continue
            done.add(stage)
            for entry in trained.log:
                rows = logs.setdefault((arm.stage_name(index), str(entry["phase"])), [])
                rows.append(_numbers(entry))
    return tuple(TrainingLog(composition=name, phase=phase, rows=tuple(rows)) for (name, phase), rows in logs.items())


def risk_infos(risks: Sequence[Risk], second: Mapping[str, Judge], samples: int | None) -> tuple[RiskInfo, ...]:
    """Return what a reader must know of every risk to read its numbers."""
    return tuple(
        RiskInfo(
            name=risk.name,
            title=risk.spec.title,
            headline=risk.headline,
            direction=risk.kind.direction,
            judge=risk.judge.name,
            judge_version=risk.judge.version,
            second_judge=second[risk.name].name if risk.name in second else "",
            second_judge_version=second[risk.name].version if risk.name in second else "",
            n_test=len(risk.test),
            k=risk.spec.samples if samples is None or risk.spec.sampling.temperature == 0 else samples,
            prompts=risk.test_digest,
        )
        for risk in risks
    )


def pairs_table(pairs: PairSet) -> PairsTable:
    """Return how a set of pairs came about, filter by filter."""
    left = pairs.table.candidates
    filters = []
    for name, dropped in pairs.table.dropped().items():
        left -= dropped
        filters.append(PairFilter(name=name, kept=left, dropped=dropped))
    first = pairs.pairs[0] if pairs.pairs else None
    return PairsTable(
        candidates=pairs.table.candidates,
        kept=pairs.table.kept,
        filters=tuple(filters),
        reference=first.reference if first else "",
        judge=pairs.judge,
        digest=pairs.digest,
    )


def warnings(measured: Measured) -> tuple[str, ...]:
    """Return what a reader must know before trusting a number."""
    found = []
    for risk in measured.risks:
        for side, chosen in zip(("train", "test"), risk.screening, strict=False):
            found.append(
                f"{risk.name}: of {chosen.candidates} {side} candidates the {chosen.kept} on which the base "
                f"misbehaves most were kept ({chosen.rate_kept:.0%} of completions unsafe there, "
                f"{chosen.rate_candidates:.0%} over all candidates)."
            )
        if measured.base.risks[risk.name].mean_safety >= 1:
            found.append(f"{risk.name}: the base does not show this risk, so no patch can remove it.")
    for arm in measured.arms:
        for index, stage in enumerate(arm.stages):
            if silent := measured.stages[stage].unjudged_benign:
                found.append(f"{arm.stage_name(index)}: {silent} replies to benign requests could not be judged.")
    for name, composition in compositions(measured).items():
        for risk_name, result in composition.risks.items():
            if result.unjudged:
                found.append(f"{name}: {result.unjudged} completions on {risk_name} could not be judged.")
    return (*dict.fromkeys(found), *_broken(compositions(measured)))


def trained_for(measured: Measured) -> dict[str, float]:
    """Return the wall time that this run's stages were trained for, whichever call trained them."""
    return {"train": sum(one.trained.seconds for one in measured.made.values() if one.trained is not None)}


def made_elsewhere(measured: Measured, commit: str) -> tuple[str, ...]:
    """Return a warning where stages were trained by another commit of the code than the run's."""
    others = [one.trained.commit[0] for one in measured.made.values() if one.trained is not None]
    different = [other for other in others if other != commit]
    if not different:
        return ()
    return (
        f"{len(different)} of {len(others)} trained stages were made by other commits of the code: "
        f"{', '.join(dict.fromkeys(different))}.",
    )


def _broken(found: Mapping[str, Composition]) -> list[str]:
    """Return a warning for each model that reads neutral text so badly that it may look safe for being broken."""
    return [
        f"{name}: perplexity of neutral text is {ratio:.1f} times the base's; a broken model looks safe."
        for name, composition in found.items()
        if is_broken(composition.utility) and (ratio := composition.utility[PERPLEXITY_RATIO].value) is not None
    ]


def _arm(arm: Arm, measured: Measured) -> ArmResult:
    """Return one arm's R matrix, what it kept of each specialist's gain, and what it forgot."""
    rows = [[measured.stages[stage].risks[risk].mean_safety for risk in measured.names] for stage in arm.stages]
    kept = _kept(measured.stages[arm.stages[-1]], measured)
    # The conventions need stage t to have learned risk t; an arm that learns all at once has no such stages.
    staged = len(arm.stages) == len(arm.order)
    ordered = in_order(rows, measured.names, arm.order) if staged else None
    columns = [*arm.order, *(risk for risk in measured.names if risk not in arm.order)]
    missing: dict[str, float | None] = {}
    lost: dict[str, float | None] = {}
    if ordered is not None:
        lost = {name: convention(ordered) for name, convention in CONVENTIONS.items()}
        base = [measured.base.risks[risk].mean_safety for risk in columns]
        lost["fwt_gem"] = fwt_gem(ordered, base)
        lost["forgetting_stability_gap"] = _largest_gap(arm, measured.curves.points)
        if measured.joint is not None:
            joint = [measured.stages[measured.joint[1]].risks[risk].mean_safety for risk in columns]
            missing = dict(zip(arm.order, intransigence(ordered, joint).tolist(), strict=True))
    return ArmResult(
        name=arm.name,
        label=arm.label,
        strategy=arm.strategy,
        order=arm.order,
        stages=tuple(arm.stage_name(index) for index in range(len(arm.stages))),
        R=tuple(tuple(row) for row in rows),
        retention={
            risk: _estimate(retention(kept[risk])) if risk in kept else Estimate(value=None, reason=NOT_MEASURED)
            for risk in measured.names
        },
        worst_risk_retention=_estimate(worst_risk_retention(kept)),
        forgetting=lost,
        intransigence=missing,
    )


def _kept(final: Measurement, measured: Measured) -> dict[str, Kept]:
    """Return, by risk, safety on the prompts that arm, base and specialist all have."""
    kept = {}
    for risk, stage in measured.specialists.items():
        each: list[RiskResult] = [one.risks[risk] for one in (final, measured.base, measured.stages[stage])]
        pairs = paired(each)
        after, before, best = pairs.safety
        kept[risk] = Kept(final=after, base=before, specialist=best, groups=pairs.groups)
    return kept


def _largest_gap(arm: Arm, curves: Sequence[CurvePoint]) -> float | None:
    """Return how far safety on any earlier risk fell inside a later stage, at most; None without curves."""
    gaps = []
    for stage in range(1, len(arm.stages)):
        for risk in arm.order[:stage]:
            points = [
                (point.step, point.safety)
                for point in curves
                if (point.arm, point.stage, point.risk) == (arm.name, stage, risk)
            ]
            if len(points) > 1:
                gaps.append(stability_gap([safety for _, safety in sorted(points)]).gap)
    return max(gaps, default=None)


def _composition(measurement: Measurement, base: Measurement | None, **about: Any) -> Composition:
    """Return a measured composition as the record holds it, with what only a comparison with the base can tell."""
    utility = dict(measurement.utility)
    if base is not None and measurement.passages is not None and base.passages is not None:
        utility[PERPLEXITY_RATIO] = perplexity_ratio(measurement.passages, base.passages)
    return Composition(
        risks={
            name: _risk_measure(result, None if base is None else base.risks[name])
            for name, result in measurement.risks.items()
        },
        utility=_metrics(utility),
        **about,
    )


def _risk_measure(result: RiskResult, base: RiskResult | None) -> RiskMeasure:
    metrics = dict(result.metrics)
    if base is not None:
        metrics |= _beside_base(result, base)
    return RiskMeasure(
        metrics=_metrics(metrics),
        safety=tuple(result.safety),
        prompt_ids=tuple(result.prompt_ids),
        unjudged=result.unjudged,
        groups=None if result.groups is None else tuple(result.groups),
        second=None if result.second is None else _risk_measure(result.second, None if base is None else base.second),
    )


def _beside_base(result: RiskResult, base: RiskResult) -> dict[str, Metric]:
    """Return `removed_share`, the part of the base's unsafety that is gone, and the repetition in multiples of its."""
    pairs = paired([result, base])
    removed = removed_share(*pairs.safety, groups=pairs.groups)
    found = {REMOVED_SHARE: Metric(removed.value, "higher", removed.n, removed.low, removed.high)}
    own, known = (one.metrics.get(REPETITION) for one in (result, base))
    if own is not None and known is not None and own.value is not None and known.value:
        found[f"{REPETITION}_ratio"] = Metric(own.value / known.value, "lower", own.n)
    return found


def _metrics(metrics: Mapping[str, Metric]) -> dict[str, MetricValue]:
    return {
        name: MetricValue(value=one.value, direction=one.direction, n=one.n, low=one.low, high=one.high)
        for name, one in metrics.items()
    }


def _estimate(derived: Derived) -> Estimate:
    return Estimate(value=derived.value, low=derived.low, high=derived.high, n=derived.n, reason=derived.reason)


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a log entry: what a record may hold."""
    return {
        name: float(value)
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _label(arm: Arm, index: int) -> str:
    """Return a composition's short name for people."""
    stage = arm.stages[index]
    if is_specialist(stage):
        return f"P({stage.risks[0]})"
    done = arm.order if index == len(arm.stages) - 1 else arm.order[: index + 1]
    if isinstance(stage, ComposeStage) and stage.method == "concat":
        return f"[{'; '.join(done)}]"
    return (
        f"{arm.label} {' > '.join(done)}"
        if arm.strategy not in ("mean", "joint")
        else f"{arm.label}({', '.join(done)})"
    )


def _kind(stage: Stage) -> Kind:
    """Return where a composition's prefix comes from."""
    if is_specialist(stage):
        return "specialist"
    return "algebraic" if isinstance(stage, ComposeStage) else "trained"
