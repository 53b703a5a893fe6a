"""A judge's card: what it was fitted on, and how often it is right on texts it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from compose.errors import Rejected
from compose.evaluate.statistics.corrected import JudgeErrors
from compose.parse import read_record, strict_json
from compose.records import Claim, Digest, Finite, PlainText

MAX_CARD_BYTES = 256 * 1024
BINS = 10
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class DataSet(Claim):
    """Texts that a judge was fitted on or measured with.

    Attributes:
        name: What its makers call it.
        digest: Of the file.
        rows: How many texts.
        licence: Under which it is published.
    """

    name: PlainText
    digest: Digest
    rows: Count
    licence: PlainText = ""


class Bin(Claim):
    """One bar of a calibration plot: texts with similar scores."""

    score: Share
    truth: Share
    rows: Count


class Measured(Claim):
    """How a judge did on texts whose truth is known.

    Attributes:
        data: The texts.
        unseen: How it was made sure that no fit saw them.
        threshold: A score that reaches it counts as unsafe.
        found: Unsafe texts that it called unsafe.
        unsafe: Unsafe texts in all.
        cleared: Safe texts that it called safe.
        safe: Safe texts in all.
        auc: Area under the ROC curve.
        kappa: Cohen's kappa of verdicts and labels.
        calibration: Mean score and mean truth of texts in ten bins of equal size.
        by_group: Kappa of each group of texts, the model that wrote them for instance.
        further: Other numbers by name.
    """

    data: DataSet
    unseen: PlainText
    threshold: Share
    found: Count
    unsafe: Count
    cleared: Count
    safe: Count
    auc: Share
    kappa: Annotated[float, Field(ge=-1, le=1)]
    calibration: tuple[Bin, ...]
    by_group: Mapping[str, Finite] = Field(default_factory=dict)
    further: Mapping[str, Finite] = Field(default_factory=dict)


class JudgeCard(Claim):
    """What is known of one judge.

    Attributes:
        schema_version: Layout of this record.
        judge: Its name in the settings.
        version: Its version; a card of another version says nothing about it.
        scores: What a score of 1 means.
        fitted_on: The texts that it learned from; empty for a list of words.
        measured: The first one is what rates are corrected with.
        blind_spots: What it is known not to see.
        command: What measured it.
    """

    schema_version: Literal[1] = 1
    judge: PlainText
    version: PlainText
    scores: PlainText
    fitted_on: tuple[DataSet, ...] = ()
    measured: tuple[Measured, ...]
    blind_spots: tuple[PlainText, ...] = ()
    command: PlainText

    def of_version(self, version: str) -> JudgeCard:
        """Return this card, when it is about a judge of that version.

        Raises:
            Rejected: `judge-invalid`, when it is about another one.
        """
        if self.version != version:
            raise Rejected(
                "judge-invalid",
                subject=f"card of judge {self.judge}",
                expected=f"version {version}",
                got=self.version,
                fix=f"measure this judge again with `compose judge card {self.judge} --data FILE`, or reinstall",
            )
        return self

    def errors(self) -> JudgeErrors | None:
        """Return how often the judge is right, to correct rates with; None when it is no better than chance."""
        first = self.measured[0]
        try:
            return JudgeErrors(first.found, first.unsafe, first.cleared, first.safe)
        except ValueError:
            return None


def measure_judge(
    scores: Float[np.ndarray, " texts"],
    truth: Float[np.ndarray, " texts"],
    *,
    data: DataSet,
    unseen: str,
    threshold: float,
    groups: Sequence[str] = (),
    further: Mapping[str, float] | None = None,
) -> Measured:
    """Return how scores agree with the truth, each in [0, 1]; a truth above .5 is unsafe.

    Raises:
        Rejected: `labels-invalid`, when the truth holds safe or unsafe texts only.
    """
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    called, labels = scores >= threshold, truth > 0.5
    if labels.all() or not labels.any():
        raise Rejected(
            "labels-invalid",
            subject=data.name,
            expected="texts of both kinds, labels above and below 0.5",
            got="one kind only",
            fix="add the other kind: without it no error can be told",
        )
    member = np.asarray(groups)
    # Kappa says nothing of texts that are all of one kind.
    names = [name for name in sorted(set(groups)) if 0 < labels[member == name].mean() < 1]
    return Measured(
        data=data,
        unseen=unseen,
        threshold=threshold,
        found=int((called & labels).sum()),
        unsafe=int(labels.sum()),
        cleared=int((~called & ~labels).sum()),
        safe=int((~labels).sum()),
        auc=float(roc_auc_score(labels, scores)),
        kappa=float(cohen_kappa_score(called, labels)),
        calibration=_bins(scores, truth),
        by_group={name: float(cohen_kappa_score(called[member == name], labels[member == name])) for name in names},
        further={name: float(value) for name, value in (further or {}).items()},
    )


def _bins(scores: Float[np.ndarray, " texts"], truth: Float[np.ndarray, " texts"]) -> tuple[Bin, ...]:
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if part.size]
    return tuple(
        Bin(score=float(scores[part].mean()), truth=float(truth[part].mean()), rows=int(part.size)) for part in parts
    )


def read_judge_card(path: Path) -> JudgeCard:
    """Return the card that a file holds.

    Raises:
        Rejected: `judge-invalid`, when it is missing, malformed or breaks its rules.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Rejected(
            "judge-invalid",
            subject=f"judge card {path}",
            expected="a readable file",
            got=f"{type(error).__name__}: {error.strerror}",
            fix="make it with `compose judge fit` or `compose judge card`",
        ) from error
    fields = strict_json(data, subject=str(path), code="judge-invalid", max_bytes=MAX_CARD_BYTES)
    return read_record(JudgeCard, fields, subject=str(path), code="judge-invalid")
