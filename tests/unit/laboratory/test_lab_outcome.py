"""From measurements to a run's record: every number here can be counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from compose.artifact import Patch
from compose.evaluate.judges import make_judge
from compose.evaluate.metrics import Metric
from compose.evaluate.prompts import make_prompt
from compose.evaluate.results import Measurement, Passages, RiskResult
from compose.evaluate.risks import Risk, RiskSpec, Screening
from compose.evaluate.sources import BuiltinPrompts
from compose.laboratory import outcome
from compose.laboratory.baselines import Baseline
from compose.laboratory.curves import Curves
from compose.laboratory.outcome import Measured
from compose.laboratory.realise import Made
from compose.laboratory.shelf import Trained
from compose.report.results import CurvePoint
from compose.strategies import Arm, Stage, Task, TrainStage, plan_arms
from compose.strategies.concat import Concat
from compose.strategies.joint import Joint
from compose.strategies.plan import specialist
from compose.strategies.sequential import Sequential
from compose.training.pairs import PairSet

NAMES = ("toxicity", "gender_bias")
TASK = Task(risks=NAMES, tokens=2)
TOX, BIAS = (specialist(name, 2) for name in NAMES)
SEQUENTIAL = TrainStage(risks=("gender_bias",), tokens=2, start=TOX, memory=("toxicity",))
JOINT = TrainStage(risks=NAMES, tokens=4)

Safety = tuple[list[float], list[float]]
SAFETY: dict[Stage, Safety] = {
    # safety of two prompts on toxicity, and of two on gender bias
    TOX: ([1.0, 0.9], [0.3, 0.5]),
    BIAS: ([0.3, 0.1], [1.0, 1.0]),
    SEQUENTIAL: ([0.6, 0.4], [0.9, 0.7]),
    JOINT: ([0.8, 0.8], [0.9, 0.9]),
}
BASE: Safety = ([0.2, 0.2], [0.4, 0.4])


def risk(name: str) -> Risk:
    spec = RiskSpec(
        name=name,
        kind="gender_bias" if name == "gender_bias" else "toxicity",
        judge="gendered_words",
        prompts=(BuiltinPrompts(name="professions"),),
        n_train=1,
        n_test=2,
        samples=5,
        title=name.title(),
    )
    test = tuple(make_prompt(f"{name} {number}") for number in range(2))
    return Risk(name, (), test, make_judge("gendered_words"), spec)


def measurement(safety: Safety, unjudged: int = 0) -> Measurement:
    risks = {
        name: RiskResult(
            risk=name,
            headline="rate",
            metrics={"rate": Metric(1 - sum(values) / len(values), "lower", len(values))},
            safety=values,
            prompt_ids=[f"{name}{number}" for number in range(len(values))],
            unjudged=unjudged,
        )
        for name, values in zip(NAMES, safety, strict=True)
    }
    return Measurement(risks, {"perplexity": Metric(20.0, "lower", 4, 19.0, 21.0)})


@pytest.fixture
def build(make_patch: Callable[..., Patch]) -> Callable[..., Measured]:
    def make(arms: list[Arm], safety: Mapping[Stage, Safety] = SAFETY, curves: tuple[CurvePoint, ...] = ()) -> Measured:
        stages = list(dict.fromkeys(stage for arm in arms for stage in arm.stages))
        patches = {stage: make_patch([[1.0 + place, 2.0]]) for place, stage in enumerate(stages)}
        log = [
            {"phase": "sft", "step": 1, "loss": 2.5, "note": "x", "bad": float("nan")},
            {"phase": "dpo", "step": 1, "loss": 0.7},
        ]
        return Measured(
            risks=tuple(risk(name) for name in NAMES),
            arms=arms,
            made={
                stage: Made(
                    key=f"{place:064d}",
                    name=patches[stage].card.name,
                    patch=patches[stage],
                    trained=Trained(patches[stage], {}, log, 2, 1.0) if isinstance(stage, TrainStage) else None,
                )
                for place, stage in enumerate(stages)
            },
            base=measurement(BASE),
            stages={stage: measurement(safety.get(stage, BASE)) for stage in stages},
            curves=Curves(curves),
        )

    return make


def test_r_holds_mean_safety_by_stage_and_risk(build: Callable[..., Measured]) -> None:
    arms = {arm.name: arm for arm in outcome.arm_results(build(plan_arms([Sequential()], TASK)))}
    first, second = arms["sequential-toxicity-gender_bias"].R
    assert first == pytest.approx((0.95, 0.4))
    assert second == pytest.approx((0.5, 0.8))
    (only,) = arms["specialist-gender_bias"].R
    assert only == pytest.approx((0.2, 1.0))


def test_retention_is_the_share_of_the_specialists_gain(build: Callable[..., Measured]) -> None:
    arms = {arm.name: arm for arm in outcome.arm_results(build(plan_arms([Sequential()], TASK)))}
    arm = arms["sequential-toxicity-gender_bias"]
    # toxicity: (0.5 - 0.2) / (0.95 - 0.2); gender bias: (0.8 - 0.4) / (1.0 - 0.4)
    assert arm.retention["toxicity"].value == pytest.approx(0.4)
    assert arm.retention["gender_bias"].value == pytest.approx(2 / 3)
    assert arm.worst_risk_retention.value == pytest.approx(0.4)
    assert arms["specialist-toxicity"].retention["toxicity"].value == pytest.approx(1.0)


def test_forgetting_is_named_and_positive_when_safety_was_lost(build: Callable[..., Measured]) -> None:
    measured = build(plan_arms([Joint(), Sequential()], TASK))
    arms = {arm.name: arm for arm in outcome.arm_results(measured)}
    arm = arms["sequential-toxicity-gender_bias"]
    assert arm.forgetting["forgetting_chaudhry"] == pytest.approx(0.45)
    assert arm.forgetting["bwt_gem"] == pytest.approx(-0.45)
    # gender bias before it was learned, against the base: 0.4 - 0.4
    assert arm.forgetting["fwt_gem"] == pytest.approx(0.0)
    # joint 0.8 against 0.95 after toxicity was learned; joint 0.9 against 0.8
    assert arm.intransigence == {"toxicity": pytest.approx(-0.15), "gender_bias": pytest.approx(0.1)}


def test_an_arm_that_learns_all_at_once_forgets_nothing_and_is_not_compared(build: Callable[..., Measured]) -> None:
    arms = {arm.name: arm for arm in outcome.arm_results(build(plan_arms([Joint()], TASK)))}
    joint = arms["joint-toxicity-gender_bias"]
    assert (joint.forgetting, joint.intransigence) == ({}, {})
    assert joint.retention["toxicity"].value == pytest.approx(0.8)


def test_the_columns_of_another_order_stay_where_they_were(build: Callable[..., Measured]) -> None:
    turned = Task(risks=NAMES, tokens=2, orders="all")
    second = TrainStage(risks=("toxicity",), tokens=2, start=BIAS, memory=("gender_bias",))
    safety: dict[Stage, Safety] = {**SAFETY, second: ([0.9, 0.9], [0.7, 0.7])}
    arms = {arm.name: arm for arm in outcome.arm_results(build(plan_arms([Sequential()], turned), safety))}
    arm = arms["sequential-gender_bias-toxicity"]
    assert arm.R[-1] == pytest.approx((0.9, 0.7))
    # gender bias, learned first: 1.0 - 0.7
    assert arm.forgetting["forgetting_chaudhry"] == pytest.approx(0.3)


def test_without_curves_there_is_no_stability_gap_and_with_them_it_is_the_deepest_fall(
    build: Callable[..., Measured],
) -> None:
    arms = plan_arms([Sequential()], TASK)
    name = "sequential-toxicity-gender_bias"
    curve = tuple(
        CurvePoint(arm=name, stage=1, step=step, risk="toxicity", safety=safety, n=2)
        for step, safety in ((4, 0.5), (0, 0.9), (2, 0.3))
    )
    gap = "forgetting_stability_gap"
    found = {one.name: one for one in outcome.arm_results(build(arms, curves=curve))}[name].forgetting
    assert found[gap] == pytest.approx(0.6)
    assert {one.name: one for one in outcome.arm_results(build(arms))}[name].forgetting[gap] is None


def test_compositions_are_the_base_and_every_stage_once(build: Callable[..., Measured]) -> None:
    found = outcome.compositions(build(plan_arms([Concat(orders="given"), Sequential()], TASK)))
    assert {name: one.kind for name, one in found.items()} == {
        "base": "base",
        "specialist-toxicity": "specialist",
        "specialist-gender_bias": "specialist",
        "concat-toxicity-gender_bias": "algebraic",
        "sequential-toxicity-gender_bias": "trained",
    }
    assert found["base"].tokens == 0
    assert found["concat-toxicity-gender_bias"].label == "[toxicity; gender_bias]"
    assert found["specialist-toxicity"].risks["toxicity"].safety == (1.0, 0.9)
    assert found["specialist-toxicity"].utility["perplexity"].value == 20.0


def test_logs_are_by_composition_and_phase_with_finite_numbers_only(build: Callable[..., Measured]) -> None:
    logs = outcome.training_logs(build(plan_arms([Sequential()], TASK)))
    assert [(log.composition, log.phase) for log in logs] == [
        (name, phase)
        for name in ("specialist-toxicity", "specialist-gender_bias", "sequential-toxicity-gender_bias")
        for phase in ("sft", "dpo")
    ]
    assert logs[0].rows == ({"step": 1.0, "loss": 2.5},)


def test_specialists_and_joint_are_found_among_the_arms(build: Callable[..., Measured]) -> None:
    assert build(plan_arms([Sequential()], TASK)).joint is None
    measured = build(plan_arms([Joint()], TASK))
    assert measured.joint == ("joint-toxicity-gender_bias", JOINT)
    assert measured.specialists == {"toxicity": TOX, "gender_bias": BIAS}


def test_a_table_of_pairs_counts_down_to_what_was_kept(make_pairs: Callable[..., PairSet]) -> None:
    table = outcome.pairs_table(make_pairs("toxicity", 4))
    assert (table.candidates, table.kept, table.reference, table.judge) == (7, 4, "best of 2", "j 1")
    assert [(one.name, one.kept, one.dropped) for one in table.filters] == [("margin", 5, 2), ("winner", 4, 1)]


def test_k_is_what_was_sampled(build: Callable[..., Measured]) -> None:
    risks = build(plan_arms([], TASK)).risks
    assert [one.k for one in outcome.risk_infos(risks, {}, None)] == [5, 5]
    assert [one.k for one in outcome.risk_infos(risks, {}, 2)] == [2, 2]
    assert outcome.risk_infos(risks, {}, None)[0].title == "Toxicity"


def test_readers_are_warned_of_screening_of_a_base_without_the_risk_and_of_silent_judges(
    build: Callable[..., Measured],
) -> None:
    measured = build(plan_arms([], TASK))
    assert outcome.warnings(measured) == ()
    screened = Risk("toxicity", (), measured.risks[0].test, measured.risks[0].judge, measured.risks[0].spec, 0,
                    (Screening(80, 8, 0.1, 0.5), Screening(20, 2, 0.1, 0.6)))  # fmt: skip
    quiet = Measured(
        risks=(screened, measured.risks[1]),
        arms=measured.arms,
        made=measured.made,
        base=measurement(([1.0, 1.0], [0.4, 0.4]), unjudged=3),
        stages=measured.stages,
    )
    text = "\n".join(outcome.warnings(quiet))
    assert "of 20 test candidates the 2" in text
    assert "toxicity: the base does not show this risk" in text
    assert "base: 3 completions on gender_bias could not be judged" in text


def test_readers_are_warned_of_a_model_that_may_be_safe_for_being_broken(build: Callable[..., Measured]) -> None:
    measured = build(plan_arms([], TASK))
    stage = measured.specialists["toxicity"]
    base = replace(measured.base, passages=Passages(["a", "b"], [20.0, 40.0], [10, 20]))
    # exp((26 + 52 - 60) / 30) = exp(.6) = 1.82 times the base's perplexity
    worse = replace(measured.stages[stage], passages=Passages(["a", "b"], [26.0, 52.0], [10, 20]))
    broken = replace(measured, base=base, stages={**measured.stages, stage: worse})
    ratio = outcome.compositions(broken)["specialist-toxicity"].utility["perplexity_ratio"].value
    assert ratio == pytest.approx(math.exp(0.6))
    assert outcome.warnings(broken) == (
        "specialist-toxicity: perplexity of neutral text is 1.8 times the base's; a broken model looks safe.",
    )


def test_a_composition_is_set_beside_the_base_prompt_by_prompt(build: Callable[..., Measured]) -> None:
    measured = build(plan_arms([], TASK))
    stage = measured.specialists["toxicity"]
    repeating = {"base": measured.base, "patched": measured.stages[stage]}
    for name, value in (("base", 0.02), ("patched", 0.05)):
        risks = repeating[name].risks
        metrics = {**risks["toxicity"].metrics, "trigram_repetition": Metric(value, "lower", 2)}
        repeating[name] = replace(
            repeating[name], risks={**risks, "toxicity": replace(risks["toxicity"], metrics=metrics)}
        )
    found = outcome.compositions(
        replace(measured, base=repeating["base"], stages={**measured.stages, stage: repeating["patched"]})
    )
    beside = found["specialist-toxicity"].risks["toxicity"].metrics
    assert beside["removed_share"].value == pytest.approx((0.95 - 0.2) / 0.8)
    assert beside["trigram_repetition_ratio"].value == pytest.approx(2.5)
    assert "removed_share" not in found["base"].risks["toxicity"].metrics


def test_stages_of_other_commits_are_told(build: Callable[..., Measured]) -> None:
    measured = build(plan_arms([], TASK))  # two specialists, trained by nobody knows which commit
    assert outcome.made_elsewhere(measured, "unknown") == ()
    assert outcome.made_elsewhere(measured, "c0ffee") == (
        "2 of 2 trained stages were made by other commits of the code: unknown.",
    )
    assert outcome.trained_for(measured) == {"train": 2.0}


def test_what_is_no_patch_stands_beside_the_base_with_its_share_removed(build: Callable[..., Measured]) -> None:
    told = Baseline(label="told", measurement=measurement(([0.6, 0.6], [0.4, 0.4])), cost={"parameters": 3})
    whole = replace(build(plan_arms([Sequential()], TASK)), baselines={"instructed": told})

    found = outcome.compositions(whole)["instructed"]

    assert (found.kind, found.patch, found.tokens, found.label) == ("baseline", None, 0, "told")
    assert found.risks["toxicity"].metrics["removed_share"].value == pytest.approx(0.5)  # .8 unsafe became .4
    assert found.cost == {"parameters": 3}


def test_a_patch_costs_its_numbers_and_the_time_of_its_training(build: Callable[..., Measured]) -> None:
    found = outcome.compositions(build(plan_arms([Concat(orders="given")], TASK)))

    assert found["specialist-toxicity"].cost == {"parameters": 2, "train_seconds": 1.0}
    assert found["concat-toxicity-gender_bias"].cost == {"parameters": 2}
