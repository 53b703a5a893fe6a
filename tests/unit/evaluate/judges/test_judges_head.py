"""A head's file: what it keeps, what it refuses, and that it scores what its fit learned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compose.errors import Rejected
from compose.evaluate.judges.fitted import features
from compose.evaluate.judges.fitted.fit import Recipe, fit_head
from compose.evaluate.judges.fitted.head import Head, calibrated, read_head, write_head

TEXTS = [f"{word} day number {n}" for word in ("rainy", "sunny") for n in range(30)]
TARGETS = np.repeat([1.0, 0.0], 30)
FOLDS = np.tile(np.arange(5), 12)


@pytest.fixture(scope="module")
def head() -> Head:
    return fit_head(TEXTS, TARGETS, FOLDS, Recipe(calibration="probability", opening=True), np.zeros((60, 4))).head


def test_a_head_scores_what_it_learned_on_texts_that_it_never_saw(head: Head) -> None:
    wet, dry = head.scores(["rainy day number 99", "sunny day number 99"], "linear")
    assert wet > 0.8 > 0.2 > dry


def test_left_out_texts_are_scored_by_fits_that_did_not_see_them() -> None:
    # Each fold has one label of its own: a fit that saw it would know it.
    folds = np.repeat(np.arange(6), 10)
    targets = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 10)
    texts = [f"word{fold} again" for fold in folds]
    found = fit_head(texts, targets, folds, Recipe(calibration="probability"), np.zeros((60, 4)))
    assert np.abs(found.unseen["linear"] - 0.5).max() < 0.35


def test_eight_bits_cost_little_and_the_version_is_the_files_digest(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    write_head(path, head)
    kept = read_head(path)
    assert np.abs(kept.decisions(TEXTS, "linear") - head.decisions(TEXTS, "linear")).max() < 0.05
    assert read_head(path, version=kept.version).version == kept.version
    assert path.stat().st_size < 700_000


def test_another_version_is_refused(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    write_head(path, head)
    with pytest.raises(Rejected, match="another version") as caught:
        read_head(path, version="sha256:" + "0" * 64)
    assert caught.value.code == "judge-invalid"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("rarity"),
        lambda tensors: tensors.update(extra=np.zeros(1, dtype=np.float32)),
        lambda tensors: tensors.update(whole=np.zeros(7, dtype=np.int8)),
        lambda tensors: tensors.update(intercept=np.asarray([np.nan], dtype=np.float32)),
        lambda tensors: tensors.update(linear_to=tensors["linear_to"][::-1].copy()),
        lambda tensors: tensors.update(linear_to=tensors["linear_to"] + 1),
        lambda tensors: tensors.pop("opening_step"),
    ],
)
def test_a_damaged_head_is_refused(head: Head, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "head.safetensors"
    write_head(path, head)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(Rejected) as caught:
        read_head(path)
    assert caught.value.code == "judge-invalid"


@pytest.mark.parametrize("data", [b"", b"not a head", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(data)
    with pytest.raises(Rejected):
        read_head(path)


def test_scores_by_distribution_are_distributed_like_the_targets() -> None:
    rng = np.random.default_rng(0)
    targets = rng.beta(0.5, 2, size=60)
    found = fit_head(TEXTS, targets, FOLDS, Recipe(calibration="distribution"), np.zeros((60, 4)))
    scores = np.sort(calibrated(np.sort(found.head.calibration["linear"][0]), found.head.calibration["linear"]))
    assert scores[0] == pytest.approx(targets.min())
    assert scores[-1] == pytest.approx(targets.max())
    # However little the texts tell of the targets, the largest scores are as large as the largest targets.
    assert found.unseen["linear"].max() > 0.6 * targets.max()


def test_an_empty_list_has_no_scores(head: Head) -> None:
    assert head.scores([], "linear").shape == (0,)
    assert replace(head, opening=None).scores(["rainy"], "linear").shape == (1,)


def test_hashed_features_do_not_depend_on_case_or_spacing() -> None:
    first, second = features.hashed(["One  two,\nthree", "one two, three"])
    assert (first != second).nnz == 0
    assert first.shape == (1, features.HASHED)


def test_rarity_by_hand() -> None:
    # Three texts: in all of them log(4 / 4) + 1, in one of them log(4 / 2) + 1, in none log(4 / 1) + 1.
    rare = features.rarity(features.hashed(["same one", "same two", "same three"]))
    assert rare.min() == pytest.approx(1.0)
    assert rare.max() == pytest.approx(np.log(4) + 1)
    assert np.isclose(rare, np.log(2) + 1).any()


def test_weighted_words_and_characters_have_length_one_each() -> None:
    found = features.hashed(["some words here"])
    scaled = features.weighted(found, features.rarity(found)).toarray()[0]
    assert np.linalg.norm(scaled[: features.WORDS]) == pytest.approx(1)
    assert np.linalg.norm(scaled[features.WORDS :]) == pytest.approx(1)


def test_the_surface_of_nothing_is_measured_too() -> None:
    row = dict(zip(features.SURFACE, features.surface(["", "STOP! Stop!!"])[1], strict=True))
    assert (row["exclamations"], row["capitals"], row["asterisk"]) == (3.0, 5 / 12, 0.0)
