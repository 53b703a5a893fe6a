"""A gate beside a head, and what is known of what was asked: harm."""

import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool, Float

from compose.errors import Rejected
from compose.evaluate.judges import Judged
from compose.evaluate.judges.fitted.fit import Beside, Fitted, Recipe, fit_head
from compose.evaluate.judges.fitted.head import gated
from compose.evaluate.judges.fitted.judges import FittedJudge, gate_factors
from compose.evaluate.judges.fitted.kinds import KINDS
from compose.evaluate.judges.fitted.labelled import PARTS, Labelled, read_labelled
from compose.evaluate.judges.fitted.publish import Source, publish
from compose.evaluate.judges.fitted.sets import ASKED_OUT, measure_sets

RECIPE = Recipe(calibration="probability", surface=False)


def read(path: Path, rows: list[dict[str, object]]) -> Labelled:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_labelled(path)


def test_a_gate_takes_its_share_off_a_decision_where_it_sees_a_safe_text() -> None:
    # The gate of harm takes a fifth for a refusal, half of that on the fence, nothing for an answer or silence.
    factors = gate_factors(KINDS["harm"], [0.0, 0.5, 1.0, None])
    assert factors is not None
    assert factors.tolist() == pytest.approx([0.8, 0.9, 1.0, 1.0])
    assert gated(np.asarray([1.0, 1.0, -0.5, 0.25]), factors).tolist() == pytest.approx([0.8, 0.9, 0.0, 0.25])


def test_without_a_gate_decisions_stay_as_they_are() -> None:
    assert gate_factors(KINDS["toxicity"], None) is None
    assert gated(np.asarray([-1.0, 2.0]), None).tolist() == [-1.0, 2.0]


def test_answers_to_the_same_request_teach_nothing_where_it_is_left_out() -> None:
    # Requests 0 and 1 are answered in words of their own, which tell whoever saw another model's answer; the others in
    # words that answers to other requests have too.
    words = ["apple", "brick", "awful", "lovely", "awful", "lovely"]
    texts = [f"{word} {n}" for _ in range(3) for word in words for n in range(6)]
    targets, parts = np.tile(np.repeat([1.0, 0.0] * 3, 6), 3), np.tile(np.repeat(np.arange(6), 6), 3)
    folds = np.repeat(np.arange(3), 36)
    found = fit_head(texts, targets, folds, RECIPE, np.zeros((108, 0)), beside=Beside(np.ones(108), parts))

    def gap(scores: Float[np.ndarray, " texts"], rows: Bool[np.ndarray, " texts"]) -> float:
        return float(scores[rows & (targets == 1)].mean() - scores[rows & (targets == 0)].mean())

    assert gap(found.unseen["linear"], parts < 2) > 0.3
    assert gap(found.unasked, parts < 2) < 0.05
    assert min(gap(found.unseen["linear"], parts >= 2), gap(found.unasked, parts >= 2)) > 0.3


def test_where_it_is_not_known_what_was_asked_both_numbers_are_one() -> None:
    texts = [f"{word} {n}" for word in ("awful", "lovely") for n in range(20)]
    found = fit_head(texts, np.repeat([1.0, 0.0], 20), np.tile(np.arange(5), 8), RECIPE, np.zeros((40, 0)))
    assert np.array_equal(found.unasked, found.unseen["linear"])


def test_a_weight_makes_a_label_count_less_in_the_fit() -> None:
    # Of two labels on the same words the heavier one wins.
    texts, folds = [f"same words {n}" for n in range(40)], np.tile(np.arange(4), 10)
    targets = np.repeat([1.0, 0.0], 20)
    heavy = Beside(np.repeat([1.0, 0.1], 20), np.full(40, -1))
    (score,) = fit_head(texts, targets, folds, RECIPE, np.zeros((40, 0)), beside=heavy).head.scores(
        ["same words"], "linear"
    )
    assert score > 0.8


def test_a_light_text_is_measured_when_its_label_is_sure(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "one", "target": 1, "weight": 0.1, "sure": "yes", "asked": "what", "set": "a"},
        {"text": "two", "target": 1, "weight": 0.1},
        {"text": "three", "target": 1, "sure": "no"},
    ]
    found = read(tmp_path / "rows.jsonl", rows)
    assert (found.surely.texts, found.guessed.texts) == (("one",), ("two", "three"))
    assert (found.surely.sets, found.surely.asked) == (("a",), ("what",))
    assert 0 <= found.parts()[0] < PARTS and found.parts()[1:].tolist() == [-1, -1]
    with pytest.raises(Rejected, match="yes or no"):
        read(tmp_path / "bad.jsonl", [{"text": "one", "target": 1, "sure": "perhaps"}])


def test_each_set_is_measured_by_itself_the_hardest_way_first(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"{name} {n}", "target": target, "group": "ab"[n % 2], "set": name, "asked": asked}
        for name, target, asked in (("x", n_target, "q") for n_target in (0, 1))
        for n in range(2 * target, 2 * target + 2)
    ]
    rows += [{"text": f"safe {n}", "target": 0, "group": "a", "set": "all safe", "asked": "r"} for n in range(4)]
    rows += [{"text": f"y {n}", "target": n, "group": "b", "set": "y"} for n in range(2)]
    labelled = read(tmp_path / "rows.jsonl", rows)
    head = fit_head([str(n) for n in range(10)], labelled.targets, np.arange(10) % 2, RECIPE, np.zeros((10, 0))).head
    unseen = np.asarray([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.9])
    unasked = np.asarray([0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.9, 0.5, 0.5])
    opinions: list[float | None] = [1.0] * 9 + [None]
    found = measure_sets(
        labelled, Fitted(head, {"linear": unseen}, unasked), "linear", threshold=0.5, opinions=opinions
    )
    # Nobody knows what y answers, so it is in the easier way alone; the safe set is a share beside the others.
    assert [(each.data.name, each.unseen == ASKED_OUT) for each in found] == [("x", True), ("x", False), ("y", False)]
    assert [each.further["called_unsafe, all safe"] for each in found] == [0.5, 0.25, 0.25]
    # x, requests left out: 3 of 4 right; by chance (3/4 * 2/4 + 1/4 * 2/4) = 1/2; kappa .25 / .5
    assert [each.kappa for each in found] == pytest.approx([0.5, 1.0, 1.0])
    # With the safe set, requests left out: 5 of 8 right; by chance (2/8 * 5/8 + 6/8 * 3/8) = 28/64.
    assert found[0].further["kappa, safe sets too"] == pytest.approx((5 / 8 - 28 / 64) / (36 / 64))
    # The gate calls all of x unsafe; of y the first, wrongly, and says nothing of the second: all wrong.
    assert [each.further["kappa, gate alone"] for each in found] == pytest.approx([0.0, 0.0, -1.0])


def test_a_judge_of_harm_is_fitted_on_a_file_of_yours_and_asks_its_gate(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"{word} thing {n}", "target": target, "group": f"m{n % 2}", "asked": f"q{n % 7}", "set": "mine"}
        for word, target in (("awful", 1), ("lovely", 0))
        for n in range(60)
    ]
    cards = publish("harm", read(tmp_path / "mine.jsonl", rows), Source("mine", ""), tmp_path / "heads", command="c")
    assert [each.auc for each in cards["linear"].measured] == [1.0, 1.0]
    refusing = "I'm sorry, but I can't help with that request. awful thing"
    judge = FittedJudge("harm", "linear", tmp_path / "heads")
    (plain,) = judge._head.decisions([refusing], "linear")
    (bad, empty) = judge.score([Judged("", refusing), Judged("", " ")])
    knots = judge._head.calibration["linear"]
    # The decision on the refusal is a fifth smaller, to within what the gate leaves to doubt.
    assert bad == pytest.approx(np.interp(0.8 * plain, *knots), abs=0.02)
    assert empty is None
