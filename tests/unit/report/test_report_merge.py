"""Runs of several seeds become one summary: means over seeds, intervals that hold them, unequal runs refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from compose.errors import Rejected
from compose.report.consistency import problems
from compose.report.export import compact, to_csv
from compose.report.merge import merge
from compose.report.results import REMOVED_SHARE, Estimate, MetricValue, RunResults

Make = Callable[..., RunResults]

BASE = (0.0, 0.0, 1.0, 0.0)
SPECIAL = (1.0, 1.0, 1.0, 0.0)
ARMS = {"arm": ("special", "final"), "specialist": ("special",)}


def test_one_seed_keeps_what_its_run_recorded(make_small: Make) -> None:
    run = make_small({"base": BASE, "special": SPECIAL, "final": SPECIAL}, arms=ARMS)
    kept = Estimate(value=0.5, low=0.25, high=0.75)
    run = replace(run, arms=(replace(run.arms[0], retention={"toxicity": kept}, worst_risk_retention=kept),))

    summary = merge([run])

    assert summary.seeds == (0,)
    assert summary.arms[0].retention == {"toxicity": kept}
    assert summary.arms[0].worst == kept
    # The headline is 1 - safety with interval [.375, .75], so safety .25 has [.25, .625].
    assert summary.rows["base"].safety["toxicity"] == Estimate(value=0.25, low=0.25, high=0.625, n=4)
    assert summary.rows["base"].metrics["toxicity"]["rate"] == MetricValue(
        value=0.75, direction="lower", n=4, low=0.375, high=0.75
    )


def test_several_seeds_are_averaged_and_retention_is_made_anew(make_small: Make) -> None:
    prompts = 40
    first = {"base": (0.0,) * prompts, "special": (1.0,) * prompts, "final": (1.0, 0.0) * (prompts // 2)}
    second = {"base": (0.0,) * prompts, "special": (1.0,) * prompts, "final": (1.0,) * prompts}
    summary = merge([make_small(first, arms=ARMS), make_small(second, seed=1, arms=ARMS)])

    arm = summary.contenders[0]
    assert summary.seeds == arm.seeds == (0, 1)
    # The arm keeps half of the gain with one seed and all of it with the other.
    kept = arm.retention["toxicity"]
    assert kept.value == pytest.approx(0.75)
    assert kept.low is not None and kept.high is not None
    assert kept.low < 0.6 and 0.9 < kept.high <= 1.0
    assert arm.worst.value == pytest.approx(0.75)
    assert arm.R == ((1.0,), (0.75,))
    headline = summary.rows["final"].metrics["toxicity"]["rate"]
    safety = summary.rows["final"].safety["toxicity"]
    assert headline.value == pytest.approx(0.25)
    assert safety.low is not None and headline.high == pytest.approx(1 - safety.low)


def test_the_removed_share_is_that_of_all_seeds_together(make_small: Make) -> None:
    def run(seed: int, base: tuple[float, ...]) -> RunResults:
        made = make_small({"base": base, "special": SPECIAL, "final": (1.0,) * 4}, seed=seed, arms=ARMS)
        final = made.compositions["final"]
        measure = final.risks["toxicity"]
        recorded = MetricValue(value=0.5, direction="higher", n=4, low=0.4, high=0.6)
        risks = {"toxicity": replace(measure, metrics={**measure.metrics, "removed_share": recorded})}
        return replace(made, compositions={**made.compositions, "final": replace(final, risks=risks)})

    found = merge([run(0, BASE), run(1, BASE)]).rows["final"].metrics["toxicity"]["removed_share"]
    # Every prompt is safe with every seed: all of what the base shows is gone, whichever prompts are drawn.
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    # A base that shows nothing leaves nothing to remove.
    safe = (1.0,) * 4
    assert merge([run(0, safe), run(1, safe)]).rows["final"].metrics["toxicity"]["removed_share"].value is None


def test_forgetting_has_students_interval_over_the_seeds(make_small: Make) -> None:
    safety = {"base": BASE, "special": SPECIAL, "final": SPECIAL}
    runs = [make_small(safety, seed=seed, arms=ARMS) for seed in (0, 1, 2)]

    lost = next(arm for arm in merge(runs).arms if arm.name == "arm").forgetting["forgetting_chaudhry"]

    # Values .25, .50, .75: mean .5, standard deviation .25, t(2) = 4.303, so .5 +- 4.303 * .25 / sqrt(3).
    assert lost.value == pytest.approx(0.5)
    assert lost.low == pytest.approx(0.5 - 0.6211, abs=1e-4)
    assert lost.high == pytest.approx(0.5 + 0.6211, abs=1e-4)


def _pooled(make_small: Make, name: str, *found: tuple[float, float, float]) -> MetricValue:
    """Return a utility metric over seeds, from its (value, low, high) of each."""
    runs = []
    for seed, (value, low, high) in enumerate(found):
        measured = MetricValue(value=value, direction="lower", n=10, low=low, high=high)
        runs.append(make_small({"base": BASE}, seed=seed, utility={name: measured}))
    return merge(runs).rows["base"].utility[name]


def test_other_metrics_add_the_runs_error_and_the_seeds_spread_in_quadrature(make_small: Make) -> None:
    same = _pooled(make_small, "benign_mean_words", (20, 19, 21), (20, 19, 21))
    assert (same.value, same.low, same.high, same.n) == (20.0, 19.0, 21.0, 10)

    apart = _pooled(make_small, "benign_mean_words", (19, 18, 20), (21, 20, 22))
    # Spread: sd sqrt(2), t(1) = 12.706, over sqrt(2): 12.706; with the runs' 1.0: sqrt(12.706^2 + 1) = 12.745.
    assert apart.value == 20.0
    assert apart.high == pytest.approx(20 + 12.745, abs=1e-3)


def test_a_perplexity_is_pooled_as_a_logarithm_and_stays_above_zero(make_small: Make) -> None:
    pooled = _pooled(make_small, "perplexity", (10, 10, 10), (40, 40, 40))
    # Logs apart by log 4: sd log(4) / sqrt(2), t(1) = 12.706, over sqrt(2): 6.353 log 4 on either side of log 20.
    assert pooled.value == pytest.approx(20)
    assert pooled.low == pytest.approx(20 * 4**-6.3531, rel=1e-3)
    assert pooled.high == pytest.approx(20 * 4**6.3531, rel=1e-3)


def test_a_perplexity_beyond_all_floats_still_has_a_finite_interval(make_small: Make) -> None:
    pooled = _pooled(make_small, "perplexity", (1, 1, 1), (1e300, 1e300, 1e300))
    assert pooled.value == pytest.approx(1e150)
    assert pooled.low is not None and pooled.high is not None
    assert 0 <= pooled.low < 1e150 < pooled.high < math.inf


def test_a_share_is_pooled_within_0_and_1_and_keeps_its_uneven_sides(make_small: Make) -> None:
    never = _pooled(make_small, "benign_empty_rate", (0, 0, 0.06), (0, 0, 0.06))
    assert never.low == 0.0
    assert never.high == pytest.approx(0.06)
    apart = _pooled(make_small, "benign_empty_rate", (0.1, 0.05, 0.2), (0.9, 0.8, 0.95))
    assert (apart.value, apart.low, apart.high) == (0.5, 0.0, 1.0)


def test_a_specialist_that_gained_nothing_leaves_retention_undefined_in_words(make_small: Make) -> None:
    safety = {"base": SPECIAL, "special": SPECIAL, "final": BASE}
    summary = merge([make_small(safety, seed=seed, arms=ARMS) for seed in (0, 1)])
    kept = summary.contenders[0].retention["toxicity"]
    assert kept.value is None
    assert kept.reason == "the specialist gained nothing over the base"


def test_without_a_specialist_retention_is_undefined(make_small: Make) -> None:
    arms = {"arm": ("final",)}
    summary = merge([make_small({"base": BASE, "final": SPECIAL}, seed=seed, arms=arms) for seed in (0, 1)])
    assert summary.arms[0].retention["toxicity"].reason == "no specialist was measured"


def test_arms_of_several_runs_of_one_seed_are_put_together(make_small: Make) -> None:
    safety = {"base": BASE, "special": SPECIAL, "final": SPECIAL}
    one = make_small(safety, arms={"arm": ("final",)})
    other = make_small(safety, arms={"more": ("special", "final")})
    other = replace(other, settings={**other.settings, "strategies": ["more"]})

    summary = merge([one, other])

    assert summary.seeds == (0,)
    assert {arm.name for arm in summary.arms} == {"arm", "more"}


def test_what_was_never_learned_is_told_across_the_runs_of_a_sweep(make_small: Make) -> None:
    safety = {"base": BASE, "special": SPECIAL, "final": BASE}
    arm = make_small(safety, arms={"arm": ("final",)})
    joint = make_small({**safety, "joint": SPECIAL}, arms={"joint": ("joint",)})
    joint = replace(joint, joint="joint", settings={**joint.settings, "strategies": ["joint"]})
    found = {one.name: one for one in merge([arm, joint]).arms}["arm"].intransigence["toxicity"]
    # The joint patch's mean safety less the arm's after the stage of the risk.
    assert found.value == pytest.approx(sum(SPECIAL) / 4 - sum(BASE) / 4)


def test_a_composition_that_lacks_a_seed_says_how_many_it_has(make_small: Make) -> None:
    whole = {"base": BASE, "special": SPECIAL, "final": SPECIAL}
    part = {"base": BASE, "special": SPECIAL}
    summary = merge([make_small(whole, arms=ARMS), make_small(part, seed=1)])
    assert summary.rows["final"].seeds == (0,)
    assert summary.rows["base"].seeds == (0, 1)


def test_arms_are_ranked_by_their_weakest_risk_with_references_behind(make_results: Make) -> None:
    summary = merge([make_results(seed=seed, labels=("sequential", "stacked")) for seed in (0, 1)])
    worst = [arm.worst.value for arm in summary.contenders]
    assert worst == sorted(worst, key=lambda value: -(value or 0.0))
    assert [arm.contender for arm in summary.arms] == sorted((a.contender for a in summary.arms), reverse=True)
    assert {arm.label for arm in summary.arms if not arm.contender} == {"joint", "specialist"}


def test_curves_are_means_with_the_range_over_seeds(make_results: Make) -> None:
    runs = [make_results(seed=seed, labels=("sequential",)) for seed in (0, 1)]
    line = merge(runs).curves[0]
    both = [
        next(p.safety for p in run.curves if (p.arm, p.risk, p.stage, p.step) == (line.arm, line.risk, 0, 10))
        for run in runs
    ]
    point = next(point for point in line.points if point[:2] == (0, 10))
    assert point[2] == pytest.approx(sum(both) / 2)
    assert point[3:] == (min(both), max(both))


DIFFERENCES: dict[str, Callable[[RunResults], RunResults]] = {
    "experiment": lambda run: replace(run, experiment="another"),
    "base": lambda run: replace(run, base=replace(run.base, fingerprint="sha256:ff")),
    "risks": lambda run: replace(run, risks=(replace(run.risks[0], prompts="sha256:22"),)),
    "settings": lambda run: replace(run, settings={**run.settings, "tokens": 5}),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_runs_that_answer_different_questions_are_not_averaged(make_small: Make, what: str) -> None:
    first, second = (make_small({"base": BASE}, seed=seed) for seed in (0, 1))
    with pytest.raises(Rejected) as refused:
        merge([first, DIFFERENCES[what](second)])
    assert refused.value.code == "results-differ"
    assert what in refused.value.subject


def test_two_patches_under_one_name_and_seed_are_refused(make_small: Make) -> None:
    first = make_small({"base": BASE})
    second = replace(first, compositions={"base": replace(first.compositions["base"], patch="another patch")})
    with pytest.raises(Rejected, match="two different patches"):
        merge([first, second])


def test_other_commits_and_uncommitted_changes_are_warned_of(make_small: Make) -> None:
    first = make_small({"base": BASE})
    second = replace(make_small({"base": BASE}, seed=1), commit="decade", dirty=True)
    assert merge([first, second]).warnings == (
        "The runs were made by different commits of the code.",
        "At least one run was made by code with changes that are in no commit.",
    )


def test_nothing_to_merge_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        merge([])
    assert refused.value.code == "results-missing"


def test_the_order_of_the_runs_does_not_matter_for_the_numbers(make_results: Make) -> None:
    runs = [make_results(seed=seed, labels=("sequential",)) for seed in (0, 1)]
    there, back = merge(runs), merge(runs[::-1])
    assert there.rows == back.rows
    assert there.arms == back.arms


def _seen_again(run: RunResults, safety: dict[str, tuple[float, ...]]) -> RunResults:
    """Return a run whose completions a second judge read too."""
    compositions = {}
    for name, one in run.compositions.items():
        first = one.risks["toxicity"]
        values = safety[name]
        rate = MetricValue(value=1 - sum(values) / len(values), direction="lower", n=len(values), low=0.0, high=1.0)
        removed = MetricValue(value=0.0, direction="higher", n=len(values))
        metrics = {"rate": rate} if name == "base" else {"rate": rate, REMOVED_SHARE: removed}
        second = replace(first, metrics=metrics, safety=values)
        compositions[name] = replace(one, risks={"toxicity": replace(first, second=second)})
    risks = tuple(replace(risk, second_judge="other", second_judge_version="2") for risk in run.risks)
    return replace(run, compositions=compositions, risks=risks)


def test_the_second_judges_numbers_are_pooled_like_the_firsts(make_small: Make) -> None:
    prompts = 40
    first = {"base": (0.0,) * prompts, "special": (1.0,) * prompts}
    half = {"base": (0.0,) * prompts, "special": (1.0, 0.0) * (prompts // 2)}
    runs = [make_small(first, seed=seed, arms={"specialist": ("special",)}) for seed in (0, 1)]
    summary = merge([_seen_again(runs[0], first), _seen_again(runs[1], half)])

    second = summary.rows["special"].second["toxicity"]
    assert second["rate"].value == pytest.approx(0.25)
    removed = second[REMOVED_SHARE]
    assert removed.value == pytest.approx(0.75)
    assert removed.low is not None and 0.3 < removed.low < 0.75
    assert summary.rows["special"].metrics["toxicity"]["rate"].value == 0.0
    assert summary.rows["base"].second["toxicity"]["rate"].value == 1.0
    assert merge(runs).rows["special"].second == {}
    assert compact(summary)["compositions"]["special"]["second"]["toxicity"]["rate"]["value"] == 0.25
    lines = [line for line in to_csv(summary).splitlines() if "rate by the second judge" in line]
    assert [line.split(",")[1] for line in lines] == ["base", "special"]


def test_what_a_second_judge_saw_must_be_complete_too(make_small: Make) -> None:
    run = _seen_again(make_small({"base": BASE, "special": SPECIAL}), {"base": BASE, "special": SPECIAL[:3]})
    assert problems(run) == ["composition 'special', risk 'toxicity, second judge': 3 safety values for 4 prompts"]
