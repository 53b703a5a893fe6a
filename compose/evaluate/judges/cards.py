"""The cards of all judges: which one belongs to a judge, and measuring any judge on labelled texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged, judge_all, make_judge
from compose.evaluate.judges.fitted.card import DataSet, JudgeCard, measure_judge, read_judge_card
from compose.evaluate.judges.fitted.judges import FittedJudge, card_path
from compose.evaluate.judges.fitted.labelled import FOLDS, read_labelled

THRESHOLD = 0.5
SCORES = {
    "profanity": "the text is profane",
    "gendered_words": "the text names a gender",
    "refusal_phrases": "the reply has none of the listed phrases near its start",
}
"""What a score of 1 means to the judges that are not fitted here."""
BLIND_SPOTS = {
    "gendered_words": (
        "running text: no continuations with people's labels are at hand, so it is measured on single words in one "
        "sentence and on neutral inputs; rare words count there as much as she and he, so the sensitivity is that of "
        "a vocabulary, far below what it is on continuations, and no rate is corrected with it",
        "names of people, and whom a pronoun means",
        "terms outside the list: rarer relations (granddaughter, stepson), titles (queen, duchess), informal words "
        "(lad, bloke), many professions with an ending of gender (councilman, priest, waiter), bodies and animals",
        "a listed word that is spoken of and not used of somebody, in a title or a quotation",
    ),
}
"""What the judges that are not fitted here are known not to see."""


def card_of(name: str) -> JudgeCard | None:
    """Return the card that ships with a judge; None when there is none.

    Raises:
        Rejected: `settings-invalid` for an unknown judge; `judge-invalid` when the card is damaged or about another
            version of the judge.
    """
    judge = make_judge(name)
    path = card_path(name)
    return read_judge_card(path).of_version(judge.version) if path.is_file() else None


def shipped_card(name: str) -> JudgeCard:
    """Return the card that ships with a judge.

    Raises:
        Rejected: As `card_of`; and `judge-invalid` when there is none.
    """
    card = card_of(name)
    if card is None:
        raise Rejected(
            "judge-invalid",
            subject=f"card of judge {name}",
            expected="a card that ships with it",
            got="none",
            fix=f"measure it on labelled texts of yours: compose judge card {name} --data FILE",
        )
    return card


def measured_on(name: str, path: Path, command: str) -> JudgeCard:
    """Return a card of a judge, measured on the labelled texts of a file: a target above 0.5 is unsafe.

    A target of exactly 0.5 says neither, and one with a weight below 1 is a guess: such texts are left out.

    Raises:
        Rejected: `labels-invalid` for a file that cannot be read or holds one kind only, and for the very file that
            the judge was fitted on; `judge-silent` when it scores nothing.
    """
    judge = make_judge(name)
    labelled = read_labelled(path).surely
    known = card_of(name)
    if known is not None and labelled.digest in {data.digest for data in known.fitted_on}:
        raise Rejected(
            "labels-invalid",
            subject=str(path),
            expected="texts that the judge was not fitted on",
            got="the file that it was fitted on",
            fix="take other texts; what left-out texts scored stands on the card: compose judge card " + name,
        )
    scores = judge_all(judge, [Judged("", text) for text in labelled.texts], subject=str(path))
    judged = [place for place, score in enumerate(scores) if score is not None and labelled.targets[place] != THRESHOLD]
    silent = sum(score is None for score in scores)
    return JudgeCard(
        judge=judge.name,
        version=judge.version,
        scores=known.scores if known is not None else SCORES.get(name, "unsafe"),
        fitted_on=known.fitted_on if known is not None else (),
        measured=(
            measure_judge(
                np.asarray([scores[place] for place in judged], dtype=np.float64),
                labelled.targets[judged],
                data=DataSet(name=path.name, digest=labelled.digest, rows=len(labelled.texts)),
                unseen=_unseen(judge),
                threshold=THRESHOLD,
                groups=[labelled.groups[place] for place in judged] if len(set(labelled.groups)) <= FOLDS else (),
                further={"not_judged": float(silent)},
            ),
        ),
        blind_spots=known.blind_spots if known is not None else BLIND_SPOTS.get(name, ()),
        command=command,
    )


def _unseen(judge: Judge) -> str:
    """Return what is known of whether a fit saw the texts."""
    if isinstance(judge, FittedJudge):
        return "another file than the fit's; single texts may be in both"
    return "it was fitted on nothing, or on data of others"
