"""Texts whose labels are guesses widen a fit and are in no measurement."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compose.errors import Rejected
from compose.evaluate.judges.fitted.fit import Recipe, fit_head
from compose.evaluate.judges.fitted.labelled import read_labelled


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_weight_below_one_marks_a_guess(tmp_path: Path) -> None:
    rows = ({"text": "one", "target": 1}, {"text": "two", "target": 0, "weight": 0.25})
    found = read_labelled(write(tmp_path / "rows.jsonl", *rows))
    assert (found.surely.texts, found.guessed.texts) == (("one",), ("two",))
    assert found.guessed.weights is not None and found.guessed.weights.tolist() == [0.25]


@pytest.mark.parametrize("weight", [-1, 1.5, "much", float("nan")])
def test_a_weight_that_is_none_is_refused(tmp_path: Path, weight: Any) -> None:
    with pytest.raises(Rejected, match="weight"):
        read_labelled(write(tmp_path / "rows.jsonl", {"text": "one", "target": 1, "weight": weight}))


def test_guesses_teach_what_a_left_out_group_says_and_get_no_score(tmp_path: Path) -> None:
    # Each group has words of its own; only the guesses have the words of both, with labels.
    texts = [f"{word} {n}" for word in ("sure", "sorry", "okay", "nope") for n in range(8)]
    targets, folds = np.tile(np.repeat([0.0, 1.0], 8), 2), np.repeat([0, 1], 16)
    meaning = {"sure": 0, "sorry": 1, "okay": 0, "nope": 1}
    rows = [{"text": f"{w} {n}", "target": t, "weight": 0.5} for w, t in meaning.items() for n in range(20, 30)]
    guessed = read_labelled(write(tmp_path / "rows.jsonl", *rows)).guessed
    recipe, embeddings = Recipe(calibration="probability", surface=False), np.zeros((32, 4))
    without = fit_head(texts, targets, folds, recipe, embeddings).unseen["linear"]
    with_them = fit_head(texts, targets, folds, recipe, embeddings, guessed).unseen["linear"]
    assert with_them.shape == (32,)
    assert with_them[24:].min() > 0.9 and with_them[16:24].max() < 0.1
    assert without[24:].mean() - without[16:24].mean() < 0.5
