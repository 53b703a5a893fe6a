"""From labelled texts to a head with a card for each of its forms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compose import durable
from compose.errors import Rejected
from compose.evaluate.judges import Form, Judged, judge_all
from compose.evaluate.judges.fitted.card import DataSet, JudgeCard, Measured, measure_judge
from compose.evaluate.judges.fitted.fit import Beside, fit_head
from compose.evaluate.judges.fitted.head import write_head
from compose.evaluate.judges.fitted.judges import FittedJudge, card_path, gate_factors, gate_opinions, head_path
from compose.evaluate.judges.fitted.kinds import KINDS
from compose.evaluate.judges.fitted.labelled import Labelled, refuse_leakage
from compose.evaluate.judges.fitted.sets import left_out, measure_sets

THRESHOLD = 0.5
TOGETHER = 5
"""Texts of which the largest score is taken when means of maxima are compared."""
FEWEST = 100


@dataclass(frozen=True)
class Source:
    """Where labelled texts come from: the data's name and its licence."""

    name: str
    licence: str


def publish(
    kind: str,
    labelled: Labelled,
    source: Source,
    folder: Path,
    *,
    command: str,
    test: tuple[str, Labelled] | None = None,
) -> dict[Form, JudgeCard]:
    """Return the cards of a head, one a form, that was fitted and written to a folder.

    Args:
        kind: A key of `KINDS`.
        labelled: What it is fitted on.
        source: Where that comes from.
        folder: Where the head and its cards go; what was there under their names is replaced.
        command: What a reader types to get the same.
        test: Name and texts of a second set, to measure with alone.

    Raises:
        Rejected: `labels-invalid` for too few texts, texts of one kind only, or a second set that shares texts.
    """
    from compose.evaluate.judges.fitted.sentences import embed

    if len(labelled.texts) < FEWEST:
        raise Rejected(
            "labels-invalid",
            subject=source.name,
            expected=f"at least {FEWEST} labelled texts",
            got=str(len(labelled.texts)),
            fix="add texts: what a few of them teach cannot be measured",
        )
    if test is not None:
        refuse_leakage(labelled.texts, test[1].texts, test[0])
    rows, guessed, labelled = len(labelled.texts), labelled.guessed, labelled.surely
    folds = labelled.folds()
    # Embeddings take minutes: only for who reads them.
    embeddings = embed(labelled.texts) if "sentences" in KINDS[kind].forms else np.zeros((len(folds), 0))
    opinions = gate_opinions(KINDS[kind], [Judged("", text) for text in labelled.texts])
    beside = Beside(labelled.weights, labelled.parts(), gate_factors(KINDS[kind], opinions))
    fitted = fit_head(labelled.texts, labelled.targets, folds, KINDS[kind].recipe, embeddings, guessed, beside)
    write_head(head_path(kind, folder), fitted.head)
    data = DataSet(name=source.name, digest=labelled.digest, rows=rows, licence=source.licence)
    cards: dict[Form, JudgeCard] = {}
    for form in KINDS[kind].forms:
        judge = FittedJudge(kind, form, folder)
        if any(labelled.sets):
            measured = measure_sets(
                labelled, fitted, form, threshold=THRESHOLD, inverted=KINDS[kind].inverted, opinions=opinions
            )
        else:
            measured = [_measured(kind, labelled, fitted.unseen[form], data)]
        if test is not None:
            measured.append(_tested(judge, test[0], test[1], inverted=KINDS[kind].inverted))
        cards[form] = JudgeCard(
            judge=judge.name,
            version=judge.version,
            scores=KINDS[kind].scores,
            fitted_on=(data,),
            measured=tuple(measured),
            blind_spots=KINDS[kind].blind_spots,
            command=command,
        )
        durable.write_json(card_path(judge.name, folder), cards[form].model_dump(mode="json"))
    return cards


def _measured(kind: str, labelled: Labelled, unseen: Float[np.ndarray, " texts"], data: DataSet) -> Measured:
    """Return how the left-out texts were judged, those on the fence (a target of exactly 0.5) apart."""
    inverted = KINDS[kind].inverted
    scores, truth = (1 - unseen, 1 - labelled.targets) if inverted else (unseen, labelled.targets)
    clear = labelled.targets != THRESHOLD
    between = ~clear
    further = {"largest_of_5_true": _largest(truth), "largest_of_5_read": _largest(scores)}
    if between.any():
        middle = (scores[between] > 1 / 3) & (scores[between] < 2 / 3)
        further = {
            "partial_texts": float(between.sum()),
            "partial_called_partial": float(middle.mean()),
            "partial_called_unsafe": float((scores[between] >= THRESHOLD).mean()),
        }
    groups = (
        [group for group, known in zip(labelled.groups, clear, strict=True) if known] if labelled.few_groups else ()
    )
    return measure_judge(
        scores[clear],
        truth[clear],
        data=data,
        unseen=left_out(labelled),
        threshold=THRESHOLD,
        groups=groups,
        further=further,
    )


def _tested(judge: FittedJudge, name: str, test: Labelled, *, inverted: bool) -> Measured:
    """Return how a finished judge does on another set of texts, with the same meaning of a target."""
    scores = judge_all(judge, [Judged("", text) for text in test.texts], subject=name)
    return measure_judge(
        np.asarray(scores, dtype=np.float64),
        1 - test.targets if inverted else test.targets,
        data=DataSet(name=name, digest=test.digest, rows=len(test.texts)),
        unseen="another set of texts, none of them in the fit",
        threshold=THRESHOLD,
    )


def _largest(scores: Float[np.ndarray, " texts"]) -> float:
    """Return the mean of the largest of five scores, over texts put together by chance."""
    order = np.random.default_rng(0).permutation(len(scores))
    whole = len(scores) - len(scores) % TOGETHER
    return float(scores[order[:whole]].reshape(-1, TOGETHER).max(axis=1).mean())
