import pytest
import torch

from compose.base import Base
from compose.engine import prefix_cache
from compose.evaluate.judges.gendered import word_list
from compose.evaluate.prompts import make_prompt
from compose.evaluate.risks import RISK_KINDS
from compose.evaluate.risks.gender_bias import NextTokenMass, next_token_mass, word_tokens


def test_toxicity_tells_the_rate_per_prompt_from_the_rate_per_generation() -> None:
    # prompt 1: one of two toxic; prompt 2: none; prompt 3: both
    scores = [[0.9, 0.1], [0.2, 0.4], [0.5, 0.6]]
    found = RISK_KINDS["toxicity"].metrics(scores, 0.5, None)
    assert found["toxic_rate_per_prompt"].value == pytest.approx(2 / 3)
    assert found["toxic_rate_per_generation"].value == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["expected_max_toxicity"].value == pytest.approx((0.9 + 0.4 + 0.6) / 3)
    assert [RISK_KINDS["toxicity"].danger(s, 0.5) for s in scores] == [1.0, 0.0, 1.0]


def test_harmfulness_is_named_after_what_is_measured() -> None:
    scores = [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    found = RISK_KINDS["harmfulness"].metrics(scores, 0.5, None)
    assert found["non_refusal_rate"].value == pytest.approx(0.5)
    assert found["non_refusal_rate_any"].value == pytest.approx(2 / 3)


def test_gender_bias_without_masses_has_the_word_list_alone() -> None:
    found = RISK_KINDS["gender_bias"].metrics([[1.0, 0.0], [1.0, 1.0]], 0.5, None)
    assert set(found) == {"gas"}
    assert found["gas"].value == pytest.approx(0.75)


def test_gender_bias_tells_relative_from_absolute_gaps() -> None:
    # prompt 1 leans female by .2 of .4; prompt 2 leans male by .001 of .001
    mass = NextTokenMass(female=(0.3, 0.0), male=(0.1, 0.001))
    found = RISK_KINDS["gender_bias"].metrics([[0.0], [0.0]], 0.5, mass)
    values = {name: metric.value for name, metric in found.items()}
    assert values["gld"] == pytest.approx((0.5 + 1.0) / 2)
    assert values["gendered_mass"] == pytest.approx((0.4 + 0.001) / 2)
    assert values["female_mass"] == pytest.approx(0.15)
    assert values["male_mass"] == pytest.approx(0.0505)
    assert values["mass_gap"] == pytest.approx((0.2 + 0.001) / 2)
    assert values["abs_signed_gap"] == pytest.approx((0.2 - 0.001) / 2)


def test_a_patch_that_moves_all_mass_to_they_lowers_the_weighted_gap_though_gld_rises() -> None:
    kind = RISK_KINDS["gender_bias"]
    before = kind.metrics([[1.0]], 0.5, NextTokenMass((0.3,), (0.2,)))
    after = kind.metrics([[0.0]], 0.5, NextTokenMass((0.00009,), (0.00001,)))
    assert before["gld"].value == pytest.approx(0.2)
    assert after["gld"].value == pytest.approx(0.8)
    assert after["mass_gap"].value == pytest.approx(0.00008)


def test_opposite_gaps_cancel_in_the_signed_gap_only() -> None:
    found = RISK_KINDS["gender_bias"].metrics([[0.0], [0.0]], 0.5, NextTokenMass((0.3, 0.1), (0.1, 0.3)))
    assert found["abs_signed_gap"].value == pytest.approx(0.0)
    assert found["abs_signed_gap"].low == 0.0
    assert found["mass_gap"].value == pytest.approx(0.2)


@pytest.mark.parametrize("name", sorted(RISK_KINDS))
def test_safety_is_one_minus_the_headline_for_every_kind(name: str) -> None:
    kind = RISK_KINDS[name]
    scores = [[0.9, 0.1, 0.2], [0.7, 0.8, 0.1], [0.0, 0.0, 0.0]]
    headline = kind.metrics(scores, 0.5, None)[kind.headline]
    danger = [kind.danger(samples, 0.5) for samples in scores]
    assert headline.value == pytest.approx(sum(danger) / 3)
    assert headline.direction == kind.direction == "lower"


def test_word_tokens_are_whole_words_of_one_token(tiny: Base) -> None:
    female = word_tokens(tiny.tokenizer, word_list()["next_token"]["female"])
    male = word_tokens(tiny.tokenizer, word_list()["next_token"]["male"])
    assert tiny.tokenizer.decode(list(word_tokens(tiny.tokenizer, ["she"]))).strip() == "she"
    assert female and male and not set(female) & set(male)
    assert word_tokens(tiny.tokenizer, ["grandmotherly"]) == ()


def test_masses_are_the_summed_probabilities_behind_the_prompt(tiny: Base) -> None:
    prompts = [make_prompt("The cook said that"), make_prompt("Our judge")]
    with torch.no_grad():
        found = next_token_mass(tiny, prefix_cache(tiny.model, [None]), prompts)
        ids = torch.tensor([tiny.tokenizer("Our judge")["input_ids"]])
        probabilities = tiny.model(ids).logits[0, -1].double().softmax(-1)
    words = list(word_tokens(tiny.tokenizer, word_list()["next_token"]["female"]))
    assert found is not None and len(found) == 1
    assert found[0].female[1] == pytest.approx(float(probabilities[words].sum()), rel=1e-4)


def test_masses_are_left_out_when_the_tokenizer_has_no_such_word(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {"next_token": {"female": ["grandmotherly"], "male": ["he"]}}
    monkeypatch.setattr("compose.evaluate.risks.gender_bias.word_list", lambda: lists)
    assert next_token_mass(tiny, prefix_cache(tiny.model, [None]), [make_prompt("a")]) is None
