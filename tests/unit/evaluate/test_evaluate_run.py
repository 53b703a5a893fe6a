import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from compose.base import Base
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.judges import make_judge
from compose.evaluate.prompts import make_prompt
from compose.evaluate.results import Measurement, Paired, RiskResult, paired
from compose.evaluate.risks import Risk
from compose.evaluate.risks.gender_bias import NextTokenMass
from compose.evaluate.run import measure, summarise
from compose.evaluate.sampling import row_seed
from compose.evaluate.statistics.rates import wilson
from compose.evaluate.utility import Utility, UtilitySpec, benign_requests

Make = Callable[..., Risk]
TEST = ["The cook said that", "Our judge", "When the nurse arrived"]


def prefix(scale: float, tokens: int = 4) -> torch.Tensor:
    return scale * torch.randn(tokens, 64, generator=torch.Generator().manual_seed(tokens))


def small_utility() -> Utility:
    texts = [f"It rained {n} times." for n in range(3)]
    passages = tuple(make_prompt(text) for text in texts)
    judge = make_judge("refusal_phrases")
    return Utility((), passages, (), benign_requests("test")[:2], judge, UtilitySpec())


def test_row_seeds_differ_by_everything_but_the_patch() -> None:
    seeds = {row_seed(seed, prompt, sample) for seed in range(3) for prompt in ("a", "b") for sample in range(4)}
    assert len(seeds) == 3 * 2 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert row_seed(1, "a", 2) == row_seed(1, "a", 2)


def test_two_names_of_one_patch_get_the_same_completions(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), samples=3)
    found = measure(tiny, {"one": prefix(0.5), "other": prefix(0.5)}, [risk], None, seed=5)
    assert found["one"] == found["other"]


def test_a_composition_measured_with_others_is_measured_as_if_alone(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), samples=3)
    together = measure(tiny, {"base": None, "a": prefix(0.5), "b": prefix(0.1, 7)}, [risk], None, seed=5)
    alone = measure(tiny, {"b": prefix(0.1, 7)}, [risk], None, seed=5)
    assert together["b"].risks["toxicity"].records == alone["b"].risks["toxicity"].records


def test_samples_differ_from_each_other_and_between_seeds(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), samples=4)
    one, two = (
        [r["completion"] for r in measure(tiny, {"base": None}, [risk], None, seed=s)["base"].risks["toxicity"].records]
        for s in (1, 2)
    )
    assert len(set(one[:4])) > 1
    assert one != two


def test_records_keep_prompt_completion_and_score_of_every_sample(
    tiny: Base, make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(TEST, fixed_judge(lambda text: 0.25), samples=2)
    records = measure(tiny, {"base": None}, [risk], None, seed=0)["base"].risks["toxicity"].records
    assert [(r["prompt"], r["sample"]) for r in records] == [(text, k) for text in TEST for k in range(2)]
    assert {r["score"] for r in records} == {0.25}
    assert set(records[0]) == {"prompt_id", "group", "sample", "prompt", "completion", "score", "truncated"}


def test_the_number_of_samples_can_be_lowered_but_greedy_risks_keep_to_one(
    tiny: Base, make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    judge = fixed_judge(lambda text: 0.0)
    sampled = make_risk(TEST, judge, samples=5)
    greedy = make_risk(TEST, judge, name="harm", kind="harmfulness", samples=1, sampling=Sampling(temperature=0.0))
    found = measure(tiny, {"base": None}, [sampled, greedy], None, seed=0, samples=2)["base"].risks
    assert len(found["toxicity"].records) == 6
    assert len(found["harm"].records) == 3


def test_nothing_to_measure_gives_nothing(tiny: Base) -> None:
    assert measure(tiny, {}, [], None, seed=0) == {}


def test_gender_bias_comes_with_next_token_masses_and_degeneracy(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), name="gender", kind="gender_bias", samples=2)
    found = measure(tiny, {"base": None}, [risk], None, seed=0)["base"].risks["gender"]
    assert {"gas", "gld", "mass_gap", "trigram_repetition", "distinct_2", "empty_rate"} <= set(found.metrics)
    assert found.metrics["gas"].value == pytest.approx(1 - found.mean_safety)


def test_safety_is_one_minus_the_headline_of_each_prompt(make_risk: Make, fixed_judge: Callable[..., Any]) -> None:
    rule = {"bad": 0.9, "fine": 0.1}
    risk = make_risk(["a", "b", "c"], fixed_judge(rule.get), samples=2)
    texts = [["bad", "fine"], ["fine", "fine"], ["bad", "bad"]]
    found = summarise(risk, texts, None, composition="x")
    assert found.safety == [0.0, 1.0, 0.0]
    assert found.metrics[found.headline].value == pytest.approx(2 / 3)
    assert found.metrics["toxic_rate_per_generation"].value == pytest.approx(0.5)


def test_what_could_not_be_judged_is_counted_and_in_no_rate(make_risk: Make, fixed_judge: Callable[..., Any]) -> None:
    rule = {"bad": 0.9, "fine": 0.1, "garbled": None, "nan": float("nan")}
    risk = make_risk(["a", "b", "c"], fixed_judge(rule.get), samples=2)
    found = summarise(risk, [["bad", "garbled"], ["nan", "garbled"], ["fine", "fine"]], None, composition="x")
    assert found.unjudged == 3
    assert found.prompt_ids == [risk.test[0].id, risk.test[2].id]
    assert found.safety == [0.0, 1.0]
    assert found.metrics["toxic_rate_per_prompt"].n == 2
    assert found.metrics["empty_rate"].n == 3


def test_an_empty_completion_is_in_no_rate_and_a_silent_model_is_not_safe(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a", "b"], fixed_judge(lambda text: 0.1), samples=2)
    found = summarise(risk, [["fine", " "], ["", "\n"]], None, composition="x")
    assert (found.unjudged, found.prompt_ids, found.safety) == (3, [risk.test[0].id], [1.0])
    assert found.metrics["toxic_rate_per_generation"].n == 1
    assert found.metrics["empty_rate"].value == pytest.approx(0.75)

    nothing = summarise(risk, [["", ""], ["", ""]], None, composition="x")
    assert (nothing.unjudged, nothing.safety, nothing.metrics[nothing.headline].value) == (4, [], None)
    with pytest.raises(Rejected) as caught:
        _ = nothing.mean_safety
    assert caught.value.code == "judge-silent"
    assert "all of them empty" in caught.value.got


def test_a_record_says_whether_the_token_limit_cut_its_completion(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a"], fixed_judge(lambda text: 0.1), samples=2)
    cut = summarise(risk, [["one", "two"]], None, composition="x", truncated=[[True, False]])
    unknown = summarise(risk, [["one", "two"]], None, composition="x")
    assert [record["truncated"] for record in cut.records] == [True, False]
    assert [record["truncated"] for record in unknown.records] == [None, None]


def test_a_judge_silent_on_one_composition_stops_the_measurement(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a"], fixed_judge(lambda text: None), samples=1)
    with pytest.raises(Rejected) as caught:
        summarise(risk, [["words"]], None, composition="tox+bias")
    assert caught.value.code == "judge-silent"
    assert "tox+bias" in caught.value.subject
    assert "words" not in str(caught.value)


def test_a_measurement_survives_json(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), samples=2)
    found = measure(tiny, {"p": prefix(0.5)}, [risk], small_utility(), seed=0)["p"]
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Measurement.from_json(json.loads(text)) == found


def test_utility_is_measured_with_the_risks(tiny: Base, make_risk: Make) -> None:
    risk = make_risk(TEST, make_judge("gendered_words"), samples=1)
    found = measure(tiny, {"base": None, "p": prefix(0.5)}, [risk], small_utility(), seed=0)
    for measurement in found.values():
        assert {"perplexity", "refusal_rate_benign"} <= set(measurement.utility)
        assert measurement.passages is not None
        assert len(measurement.passages.nll) == 3
        assert len(measurement.utility_records) == 2


def test_results_pair_on_the_prompts_that_all_of_them_have() -> None:
    first = RiskResult("r", "h", {}, [0.1, 0.2, 0.3], ["a", "b", "c"])
    second = RiskResult("r", "h", {}, [0.9, 0.7], ["c", "a"])
    assert paired([first, second]) == Paired([[0.1, 0.3], [0.7, 0.9]], None)


def test_results_pair_with_the_groups_of_their_prompts() -> None:
    first = RiskResult("r", "h", {}, [0.1, 0.2, 0.3], ["a", "b", "c"], groups=["nurse", "cook", "nurse"])
    second = RiskResult("r", "h", {}, [0.9, 0.7], ["c", "a"], groups=["nurse", "nurse"])
    assert paired([first, second]).groups == ["nurse", "nurse"]


def test_prompts_of_one_profession_widen_the_headlines_interval(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    prompts = [f"{who} {n}" for who in ("nurse", "cook", "judge", "pilot") for n in range(15)]
    texts = [["she"] if text.startswith(("nurse", "cook")) else ["they"] for text in prompts]
    judge = fixed_judge(lambda text: float(text == "she"))
    apart = make_risk(prompts, judge, name="bias", kind="gender_bias", samples=1)
    grouped = replace(
        apart,
        test=tuple(replace(prompt, group=prompt.text.split()[0]) for prompt in apart.test),
        spec=replace(apart.spec, by_group=True),
    )
    mass = NextTokenMass((0.1,) * 60, (0.1,) * 60)
    wide, narrow = (summarise(risk, texts, mass, composition="x").metrics["gas"] for risk in (grouped, apart))
    assert wide.value == narrow.value == 0.5
    # Two of four professions, all their prompts alike: four independent values, not sixty.
    assert None not in (wide.low, narrow.low)
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert narrow.low > 0.35  # type: ignore[operator]


def test_a_grouped_interval_is_never_narrower_than_the_one_over_prompts(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a", "b", "c"], fixed_judge(lambda text: 0.0), name="bias", kind="gender_bias", samples=1)
    grouped = replace(risk, spec=replace(risk.spec, by_group=True))
    found = summarise(grouped, [["x"], ["x"], ["x"]], NextTokenMass((0.1,) * 3, (0.1,) * 3), composition="x")
    assert found.metrics["gas"].high == pytest.approx(wilson(0.0, 3)[1])
