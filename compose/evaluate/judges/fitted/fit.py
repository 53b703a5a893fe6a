"""Fitting a head: ridge regression on hashed features, judged on texts that each fit did not see.

The texts are cut into folds, related texts in one fold. What a text scores while its fold is left out is what the
calibration, the second form and every published number are made from; the head that ships is then fitted on all.
Where it is known what texts answer, the calibration is made from fits that saw no other answer to the same either:
whoever judges will mostly meet requests that no fit has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from compose.evaluate.judges import Form
from compose.evaluate.judges.fitted import features
from compose.evaluate.judges.fitted.head import FORMS, Head, calibrated, gated
from compose.evaluate.judges.fitted.labelled import Labelled
from compose.progress import bar

Calibration = Literal["distribution", "probability"]
KNOTS = 101
SURFACE_SCALE = 0.3
"""Standard deviation that surface measures are given, beside hashed features of length 1: how freely they are used."""
_FREE = 100.0
"""The fast form's decision is scaled up so that the ridge penalty of the other form hardly holds it back."""


@dataclass(frozen=True)
class Recipe:
    """How a head is fitted.

    Attributes:
        calibration: "distribution" maps decisions so that scores are distributed like the targets: means of maxima and
            shares above any threshold come out right, which a regression to the mean would not give; it knows no
            weights. "probability" is isotonic regression (Zadrozny and Elkan 2002) of labels 0 and 1.
        opening: Whether the opening of a text is also read by itself.
        surface: Whether surface measures are used: they tell toxicity, and mislead on replies of another model.
        strength: Ridge penalty of the fast form.
        sentences_strength: Ridge penalty of the other form.
    """

    calibration: Calibration
    opening: bool = False
    surface: bool = True
    strength: float = 0.15
    sentences_strength: float = 4000.0


@dataclass(frozen=True)
class Fitted:
    """A head, and what each text scored while it was left out.

    Attributes:
        head: Fitted on all texts.
        unseen: By form, the calibrated score of each text by a fit that did not see its fold.
        unasked: Likewise in the fast form, by a fit that saw no answer to the same request either.
    """

    head: Head
    unseen: dict[Form, Float[np.ndarray, " texts"]]
    unasked: Float[np.ndarray, " texts"]


@dataclass(frozen=True)
class Beside:
    """What is known of texts beside their targets.

    Attributes:
        weights: How much each counts.
        parts: The part of what was asked that each answers, left out together; -1 where that is not known.
        factors: Of a gate, see `gated`; None without one.
    """

    weights: Float[np.ndarray, " texts"]
    parts: Int[np.ndarray, " texts"]
    factors: Float[np.ndarray, " texts"] | None = None

    @classmethod
    def nothing(cls, texts: int) -> Beside:
        """Return that nothing is known: all count alike."""
        return cls(np.ones(texts), np.full(texts, -1))


def fit_head(
    texts: Sequence[str],
    targets: Float[np.ndarray, " texts"],
    folds: Int[np.ndarray, " texts"],
    recipe: Recipe,
    embeddings: Float[np.ndarray, "texts dimensions"],
    guessed: Labelled | None = None,
    beside: Beside | None = None,
) -> Fitted:
    """Return a head for the targets, in [0, 1], and its scores on unseen texts.

    Args:
        texts: What was said.
        targets: What each should score: a number, or a label of 0 or 1.
        folds: The fold of each text; related texts must share theirs.
        recipe: How it is fitted.
        embeddings: Of each text, see `sentences.embed`.
        guessed: Further texts whose targets are guesses: in every fit of the fast form, with their weights, and nowhere
            else.
        beside: What else is known of the texts; None for nothing.
    """
    beside = beside or Beside.nothing(len(texts))
    more = () if guessed is None else guessed.texts
    columns = _Columns.of((*texts, *more), recipe)
    told, weights = targets, beside.weights
    if guessed is not None:
        told, weights = np.concatenate([told, guessed.targets]), np.concatenate([weights, guessed.weights])
    final, raw = _fit_and_leave_out(columns.matrix, told, weights, recipe.strength, _leaves(folds, beside.parts))
    linear, unasked = gated(raw.linear, beside.factors), gated(raw.unasked, beside.factors)
    mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    second = np.column_stack([linear * _FREE, (embeddings - mean) / scale])
    decisions: dict[Form, Any] = {"linear": linear, "sentences": np.zeros(len(texts))}
    for fold in set(folds.tolist()):
        seen = folds != fold
        model = _ridge(second[seen], targets[seen], recipe.sentences_strength)
        decisions["sentences"][~seen] = model.predict(second[~seen])
    other = _ridge(second, targets, recipe.sentences_strength)
    ground = {**decisions, "linear": unasked}
    knots = {form: _knots(ground[form], targets, recipe.calibration, beside.weights) for form in FORMS}
    whole, opening, surface = columns.split(final.coef_)
    head = Head(
        rarity=columns.rarity,
        whole=whole,
        opening=opening,
        surface=surface,
        intercept=float(final.intercept_),
        sentences=np.stack([mean, scale, other.coef_[1:]]),
        sentences_gain=float(other.coef_[0]) * _FREE,
        sentences_intercept=float(other.intercept_),
        calibration=knots,
    )

    def scores(decided: Float[np.ndarray, " texts"]) -> Float[np.ndarray, " texts"]:
        return _left_out(decided, targets, folds, recipe.calibration, beside.weights)

    return Fitted(head, {form: scores(decisions[form]) for form in FORMS}, scores(unasked))


class _Leave(NamedTuple):
    """Rows that one fit leaves out, and those that get either kind of decision from it."""

    out: Bool[np.ndarray, " texts"]
    linear: Bool[np.ndarray, " texts"]
    unasked: Bool[np.ndarray, " texts"]


class _Raw(NamedTuple):
    """Decisions on texts that the fit behind each left out, with its fold alone and with what was asked."""

    linear: Float[np.ndarray, " texts"]
    unasked: Float[np.ndarray, " texts"]


def _leaves(folds: Int[np.ndarray, " texts"], parts: Int[np.ndarray, " texts"]) -> list[_Leave]:
    """Return what each fit leaves out: a fold, and a fold with all answers to a part of what was asked."""
    leaves = []
    for fold in sorted(set(folds.tolist())):
        inside = folds == fold
        leaves.append(_Leave(inside, inside, inside & (parts < 0)))
        for part in sorted(set(parts[inside].tolist()) - {-1}):
            same = parts == part
            leaves.append(_Leave(inside | same, np.zeros(len(folds), dtype=bool), inside & same))
    return leaves


def _fit_and_leave_out(
    matrix: Any,
    targets: Float[np.ndarray, " rows"],
    weights: Float[np.ndarray, " rows"],
    strength: float,
    leaves: Sequence[_Leave],
) -> tuple[Any, _Raw]:
    """Return the fit on all rows, and what fits without some say of them; rows behind the texts are in every fit."""
    raw = _Raw(*np.zeros((2, len(leaves[0].out))))
    seen = np.ones(len(targets), dtype=bool)
    with bar(len(leaves) + 1, "fit", "fold") as progress:
        for leave in leaves:
            seen[: len(leave.out)] = ~leave.out
            model = _ridge(matrix[seen], targets[seen], strength, weights[seen])
            for decided, wanted in zip(raw, leave[1:], strict=True):
                if wanted.any():
                    decided[wanted] = model.predict(matrix[np.flatnonzero(wanted)])
            progress.update(1)
        final = _ridge(matrix, targets, strength, weights)
        progress.update(1)
    return final, raw


@dataclass(frozen=True)
class _Columns:
    """The columns of the fast form's fit, side by side."""

    matrix: Any
    rarity: Float[np.ndarray, " hashed"]
    opening: bool
    mean: Float[np.ndarray, " measures"]
    scale: Float[np.ndarray, " measures"]

    @classmethod
    def of(cls, texts: Sequence[str], recipe: Recipe) -> _Columns:
        import scipy.sparse as sparse

        found = features.hashed(texts)
        rare = features.rarity(found)
        blocks = [features.weighted(found, rare)]
        if recipe.opening:
            blocks.append(features.weighted(features.hashed([features.opening(text) for text in texts]), rare))
        measures = features.surface(texts)
        mean, scale = measures.mean(axis=0), (measures.std(axis=0) + 1e-9) / SURFACE_SCALE
        # Measures that are not to be used stay in the layout, at zero, and get weight zero.
        blocks.append(sparse.csr_matrix((measures - mean) / scale * float(recipe.surface)))
        return cls(sparse.hstack(blocks).tocsr(), rare, recipe.opening, mean, scale)

    def split(self, weights: Float[np.ndarray, " columns"]) -> tuple[Any, Any, Any]:
        """Return the weights of the whole text, of its opening (or None), and the surface part of a head."""
        width = features.HASHED
        opening = weights[width : 2 * width] if self.opening else None
        return weights[:width], opening, np.stack([self.mean, self.scale, weights[-len(self.mean) :]])


def _ridge(
    columns: Any,
    targets: Float[np.ndarray, " texts"],
    strength: float,
    weights: Float[np.ndarray, " texts"] | None = None,
) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=strength, solver="lsqr", max_iter=200).fit(columns, targets, sample_weight=weights)


def _left_out(
    decisions: Float[np.ndarray, " texts"],
    targets: Float[np.ndarray, " texts"],
    folds: Int[np.ndarray, " texts"],
    kind: Calibration,
    weights: Float[np.ndarray, " texts"],
) -> Float[np.ndarray, " texts"]:
    """Return the scores of left-out texts, the calibration too made without their fold."""
    scores = np.zeros(len(decisions))
    for fold in set(folds.tolist()):
        seen = folds != fold
        scores[~seen] = calibrated(decisions[~seen], _knots(decisions[seen], targets[seen], kind, weights[seen]))
    return scores


def _knots(
    decisions: Float[np.ndarray, " texts"],
    targets: Float[np.ndarray, " texts"],
    kind: Calibration,
    weights: Float[np.ndarray, " texts"],
) -> Float[np.ndarray, "2 knots"]:
    """Return the calibration of decisions as knots that rise."""
    if kind == "distribution":
        shares = np.linspace(0, 1, KNOTS)
        start, to = np.quantile(decisions, shares), np.quantile(targets, shares)
    else:
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(decisions, targets, sample_weight=weights)
        start, to = fitted.X_thresholds_, fitted.y_thresholds_
    kept = np.concatenate([[True], np.diff(start.astype(np.float32)) > 0])
    return np.stack([start[kept], np.clip(np.maximum.accumulate(to[kept]), 0, 1)])
