"""Measurements kept by content: what is measured again, and what never is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compose.base import Base
from compose.engine import Sampling
from compose.evaluate.judges import make_judge
from compose.evaluate.metrics import Metric
from compose.evaluate.prompts import make_prompt
from compose.evaluate.results import Measurement, RiskResult
from compose.evaluate.risks import Risk, RiskSpec
from compose.evaluate.sources import BuiltinPrompts
from compose.laboratory.measuring import Yardstick, measured


@pytest.fixture
def yardstick(tiny: Base) -> Yardstick:
    spec = RiskSpec(
        name="toxicity",
        kind="toxicity",
        judge="gendered_words",
        prompts=(BuiltinPrompts(name="professions"),),
        n_train=1,
        n_test=3,
        samples=2,
        sampling=Sampling(max_new_tokens=2),
    )
    test = tuple(make_prompt(f"Prompt {number} says") for number in range(3))
    risk = Risk("toxicity", (), test, make_judge("gendered_words"), spec)
    return Yardstick(base=tiny, risks=(risk,), utility=None, seed=0, together=2)


class Passes:
    """Stands for measuring: keeps the size of every pass, and is interrupted before the pass of that number."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.interrupted_at: int | None = None
        self.record: dict[str, Any] = {"prompt_id": "p", "completion": "words", "score": 0.5}

    def __call__(self, base: Base, prefixes: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, Measurement]:
        if len(self.sizes) == self.interrupted_at:
            raise KeyboardInterrupt
        self.sizes.append(len(prefixes))
        result = RiskResult("toxicity", "rate", {"rate": Metric(0.5, "lower", 1)}, [0.5], ["p"], [dict(self.record)])
        return {name: Measurement({"toxicity": result}) for name in prefixes}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    counted = Passes()
    monkeypatch.setattr("compose.laboratory.measuring.measure", counted)
    return counted


PREFIXES = {"base": None, "a": torch.ones(1, 4), "b": torch.full((1, 4), 2.0), "again a": torch.ones(1, 4)}


def test_equal_prefixes_are_measured_once_and_passes_are_of_the_size_asked_for(
    yardstick: Yardstick, passes: Passes, tmp_path: Path
) -> None:
    results = measured(PREFIXES, yardstick, tmp_path, "measure")
    assert passes.sizes == [2, 1]
    assert set(results) == set(PREFIXES)
    assert results["a"] == results["again a"]


def test_what_was_measured_is_read_again_with_its_records(yardstick: Yardstick, passes: Passes, tmp_path: Path) -> None:
    first = measured(PREFIXES, yardstick, tmp_path, "measure")
    second = measured(PREFIXES, yardstick, tmp_path, "measure")
    assert len(passes.sizes) == 2
    assert second == first


def test_an_interruption_loses_one_pass_at_most(yardstick: Yardstick, passes: Passes, tmp_path: Path) -> None:
    passes.interrupted_at = 1
    with pytest.raises(KeyboardInterrupt):
        measured(PREFIXES, yardstick, tmp_path, "measure")
    passes.interrupted_at = None
    measured(PREFIXES, yardstick, tmp_path, "measure")
    assert passes.sizes == [2, 1]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"risks": {}}'])
def test_a_damaged_measurement_is_made_again(
    damage: bytes, yardstick: Yardstick, passes: Passes, tmp_path: Path
) -> None:
    measured({"base": None}, yardstick, tmp_path, "measure")
    (kept,) = tmp_path.glob("*.json")
    kept.write_bytes(damage)
    measured({"base": None}, yardstick, tmp_path, "measure")
    assert len(passes.sizes) == 2


def test_a_measurement_in_which_silence_has_a_score_is_made_again(
    yardstick: Yardstick, passes: Passes, tmp_path: Path
) -> None:
    passes.record |= {"completion": " \n"}
    measured({"base": None}, yardstick, tmp_path, "test")
    passes.record["score"] = None
    measured({"base": None}, yardstick, tmp_path, "test")
    measured({"base": None}, yardstick, tmp_path, "test")
    assert passes.sizes == [1, 1]


def test_everything_that_changes_a_measurement_changes_its_name(yardstick: Yardstick) -> None:
    (risk,) = yardstick.risks
    others = [
        replace(yardstick, seed=1),
        replace(yardstick, samples=1),
        replace(yardstick, risks=(replace(risk, test=risk.test[:2]),)),
        replace(yardstick, risks=(replace(risk, judge=make_judge("refusal_phrases")),)),
        replace(yardstick, risks=(replace(risk, spec=replace(risk.spec, threshold=0.9)),)),
        replace(yardstick, risks=(replace(risk, spec=replace(risk.spec, sampling=Sampling(max_new_tokens=3))),)),
    ]
    names = {one.key(None) for one in (yardstick, *others)} | {yardstick.key(torch.ones(1, 4))}
    assert len(names) == len(others) + 2


def test_how_many_are_measured_together_changes_nothing(yardstick: Yardstick) -> None:
    (risk,) = yardstick.risks
    trained_on_more = replace(risk, spec=replace(risk.spec, n_train=9), train=risk.test)
    assert replace(yardstick, together=9).key(None) == yardstick.key(None)
    assert replace(yardstick, risks=(trained_on_more,)).key(None) == yardstick.key(None)


def test_a_lighter_yardstick_takes_the_first_prompts_and_no_utility(yardstick: Yardstick) -> None:
    lighter = yardstick.lighter(2, 1)
    assert [risk.test for risk in lighter.risks] == [yardstick.risks[0].test[:2]]
    assert (lighter.samples, lighter.utility) == (1, None)


def test_the_real_measure_gives_what_is_read_again(yardstick: Yardstick, tmp_path: Path) -> None:
    first = measured({"base": None}, yardstick, tmp_path, "measure")
    assert measured({"base": None}, yardstick, tmp_path, "measure") == first
    assert len(first["base"].risks["toxicity"].records) == 6
