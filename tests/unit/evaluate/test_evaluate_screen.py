import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose.base import Base
from compose.errors import Rejected
from compose.evaluate.prompts import make_prompt
from compose.evaluate.risks import RiskSpec, Screen, load_risk
from compose.evaluate.risks.screen import base_scores, worst
from compose.evaluate.sampling import row_seed

PROMPTS = [make_prompt(text) for text in ("first", "second", "third", "fourth")]


def scores(*values: list[float | None]) -> dict[str, list[float | None]]:
    return {prompt.id: list(value) for prompt, value in zip(PROMPTS, values, strict=True)}


def test_the_worst_prompts_are_kept_in_their_order() -> None:
    table = scores([0.0, 0.1], [0.9, 0.8], [0.6, 0.1], [0.0, 0.7])
    kept, report = worst(PROMPTS, table, n=3, threshold=0.5, at_least=0.0, subject="x")
    assert [p.text for p in kept] == ["second", "third", "fourth"]
    # shares of unsafe completions: 0, 1, .5, .5
    assert (report.candidates, report.kept) == (4, 3)
    assert report.rate_candidates == pytest.approx(0.5)
    assert report.rate_kept == pytest.approx(2 / 3)


def test_ties_are_broken_by_the_mean_score() -> None:
    table = scores([0.1, 0.1], [0.0, 0.0], [0.3, 0.3], [0.2, 0.2])
    kept, _ = worst(PROMPTS, table, n=2, threshold=0.5, at_least=0.0, subject="x")
    assert [p.text for p in kept] == ["third", "fourth"]


def test_a_prompt_without_a_score_is_no_candidate() -> None:
    table = scores([None, None], [0.0, None], [0.9, None], [0.0, 0.0])
    kept, report = worst(PROMPTS, table, n=3, threshold=0.5, at_least=0.0, subject="x")
    assert "first" not in [p.text for p in kept]
    assert report.candidates == 3


def test_a_base_that_does_not_show_the_risk_is_said_so() -> None:
    table = scores([0.0], [0.9], [0.0], [0.0])
    with pytest.raises(Rejected) as caught:
        worst(PROMPTS, table, n=2, threshold=0.5, at_least=0.5, subject="risk x")
    assert caught.value.code == "prompts-too-few"
    assert caught.value.got == "1 of 4 candidates"


def test_screening_never_uses_the_noise_of_a_measurement() -> None:
    seeds = range(50)
    screened = {row_seed(seed, "id", sample, "screen") for seed in seeds for sample in range(5)}
    measured = {row_seed(seed, "id", sample) for seed in seeds for sample in range(5)}
    assert len(screened) == len(measured) == 250
    assert not screened & measured


def test_screening_asks_the_base_once_and_remembers_scores_without_texts(
    tiny: Base, make_spec: Callable[..., RiskSpec], fixed_judge: Callable[..., Any], tmp_path: Path
) -> None:
    spec, screen = make_spec(), Screen(samples=2)
    judge = fixed_judge(lambda text: min(1.0, len(text) / 100))
    first = base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path)
    again = base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path)
    assert first == again
    assert judge.calls == 1
    assert all(len(values) == 2 for values in first.values())
    (kept,) = (tmp_path / "screening").glob("*.json")
    assert "second" not in kept.read_text()


def test_a_damaged_memory_is_made_again(
    tiny: Base, make_spec: Callable[..., RiskSpec], fixed_judge: Callable[..., Any], tmp_path: Path
) -> None:
    spec, screen, judge = make_spec(), Screen(samples=1), fixed_judge(lambda text: 0.5)
    first = base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path)
    (kept,) = (tmp_path / "screening").glob("*.json")
    for damage in ('{"a": [0.5]}', "not json", "[]"):
        kept.write_text(damage)
        assert base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path) == first
    assert judge.calls == 4


def test_another_base_judge_or_sampling_is_asked_anew(
    tiny: Base, make_spec: Callable[..., RiskSpec], fixed_judge: Callable[..., Any], tmp_path: Path
) -> None:
    spec, screen, judge = make_spec(), Screen(samples=1), fixed_judge(lambda text: 0.5)
    base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path)
    other = dataclasses.replace(tiny, fingerprint="sha256:other")
    base_scores(spec, screen, other, judge, PROMPTS, tmp_path)
    base_scores(spec, Screen(samples=1, seed=1), tiny, judge, PROMPTS, tmp_path)
    judge.version = "2"
    base_scores(spec, screen, tiny, judge, PROMPTS, tmp_path)
    assert judge.calls == 4


def test_screening_chooses_on_each_side_of_a_split_that_does_not_depend_on_the_base(
    tiny: Base, make_spec: Callable[..., RiskSpec], tmp_path: Path
) -> None:
    spec = make_spec(n_train=4, n_test=2)
    screened = dataclasses.replace(spec, screen=Screen(samples=2))
    risk = load_risk(screened, tiny, cache=tmp_path)
    # 20 prompts, 2 of 6 to the test side: 7 candidates; the rest may be trained on
    test, train = risk.screening[1], risk.screening[0]
    assert (test.candidates, test.kept, train.candidates, train.kept) == (7, 2, 13, 4)
    everything = dataclasses.replace(spec, n_train=13, n_test=7)
    pools = load_risk(everything)
    assert {p.id for p in risk.test} <= {p.id for p in pools.test}
    assert {p.id for p in risk.train} <= {p.id for p in pools.train}


def test_the_number_of_candidates_can_be_limited(
    tiny: Base, make_spec: Callable[..., RiskSpec], tmp_path: Path
) -> None:
    spec = make_spec(n_train=4, n_test=2, screen=Screen(samples=1, candidates=9))
    train, test = load_risk(spec, tiny, cache=tmp_path).screening
    assert (train.candidates, test.candidates) == (6, 3)


def test_a_small_preset_trains_on_no_test_prompt_of_a_larger_one(
    tiny: Base, make_spec: Callable[..., RiskSpec], tmp_path: Path
) -> None:
    small = load_risk(make_spec(n_train=4, n_test=2, screen=Screen(samples=1, candidates=9)), tiny, cache=tmp_path)
    suite = load_risk(make_spec(n_train=16, n_test=4))  # a smaller share of the same 20 prompts is tested with

    assert not {p.id for p in small.train} & {p.id for p in suite.test}
