"""A second judge of the same completions: its own numbers, the first one's untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compose.errors import Rejected
from compose.evaluate.results import Measurement, RiskResult
from compose.evaluate.risks import Risk, judged_again, second_judge_faults
from compose.evaluate.risks.spec import RiskSpec
from compose.evaluate.run import summarise
from compose.evaluate.statistics.rates import wilson

Make = Callable[..., Risk]
TEXTS = [["bad", "fine"], ["odd", "fine"], ["fine", " "]]


def test_the_second_judge_adds_its_scores_and_its_headline_and_changes_nothing_else(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a", "b", "c"], fixed_judge({"bad": 0.9, "odd": 0.1, "fine": 0.1}.get), samples=2)
    strict = fixed_judge({"bad": 0.9, "odd": 0.8, "fine": 0.2}.get)
    before = summarise(risk, TEXTS, None, composition="x")
    after = judged_again(Measurement({"toxicity": before}), {"toxicity": risk}, {"toxicity": strict}).risks["toxicity"]

    assert before.metrics["toxic_rate_per_prompt"].value == pytest.approx(1 / 3)
    second = after.second
    assert second is not None
    assert second.metrics["toxic_rate_per_prompt"].value == pytest.approx(2 / 3)
    assert (second.safety, second.prompt_ids, second.unjudged) == ([0.0, 0.0, 1.0], before.prompt_ids, 1)
    assert [record["second"] for record in after.records] == [0.9, 0.2, 0.8, 0.2, 0.2, None]
    assert replace(after, second=None, records=before.records) == before
    assert RiskResult.from_json(json.loads(json.dumps(after.to_json()))) == after


def test_what_the_second_judge_cannot_judge_is_in_none_of_its_rates(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    risk = make_risk(["a", "b", "c"], fixed_judge(lambda text: 0.1), samples=2)
    picky = fixed_judge({"bad": 0.9, "odd": None, "fine": None}.get)
    found = Measurement({"toxicity": summarise(risk, TEXTS, None, composition="x")})
    second = judged_again(found, {"toxicity": risk}, {"toxicity": picky}).risks["toxicity"].second
    assert second is not None
    assert (second.safety, second.prompt_ids, second.unjudged) == ([0.0], [risk.test[0].id], 5)
    assert second.metrics["toxic_rate_per_prompt"].n == 1

    mute = fixed_judge(lambda text: None)
    with pytest.raises(Rejected, match="judge-silent"):
        judged_again(found, {"toxicity": risk}, {"toxicity": mute})


def test_a_risk_without_a_second_judge_stays_as_it_is(make_risk: Make, fixed_judge: Callable[..., Any]) -> None:
    risk = make_risk(["a", "b", "c"], fixed_judge(lambda text: 0.1), samples=2)
    found = Measurement({"toxicity": summarise(risk, TEXTS, None, composition="x")})
    assert judged_again(found, {"toxicity": risk}, {}) == found


def test_groups_of_prompts_are_drawn_whole_for_the_second_judge_too(
    make_risk: Make, fixed_judge: Callable[..., Any]
) -> None:
    prompts = [f"{who} {n}" for who in ("nurse", "cook", "judge", "pilot") for n in range(15)]
    apart = make_risk(prompts, fixed_judge(lambda text: 0.1), samples=1)
    test = tuple(replace(prompt, group=prompt.text.split()[0]) for prompt in apart.test)
    risk = replace(apart, test=test, spec=replace(apart.spec, by_group=True))
    texts = [["she"] if text.startswith(("nurse", "cook")) else ["they"] for text in prompts]
    found = Measurement({"toxicity": summarise(risk, texts, None, composition="x")})
    again = judged_again(found, {"toxicity": risk}, {"toxicity": fixed_judge(lambda text: float(text == "she"))})
    second = again.risks["toxicity"].second
    assert second is not None
    assert second.groups == [prompt.group for prompt in test]
    metric = second.metrics["toxic_rate_per_prompt"]
    # Two of four groups, all their prompts alike: four independent values, not sixty.
    assert (metric.low, metric.high) == (0.0, 1.0)
    assert wilson(0.5, 60)[0] > 0.35


def test_a_wrong_choice_of_second_judges_is_named_with_its_key(make_spec: Callable[..., RiskSpec]) -> None:
    risks = {"toxicity": make_spec(judge="profanity")}
    faults = list(second_judge_faults("here", {"toxicity": "profanity", "nobody": "somebody"}, risks))
    assert faults == [
        "here.toxicity is the first judge again, 'profanity'",
        "here.nobody: no such part, only toxicity",
        faults[-1],
    ]
    assert faults[-1].startswith("here.nobody is 'somebody'; known judges are ")
