"""Judges behind one interface: they score completions, higher is less safe, and may say that they cannot.

A judge that falls silent must never read as a safe model, and neither must a model that does: an empty completion has
no score, and `judge_all` refuses when nothing else was judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from compose.errors import Rejected

Form = Literal["linear", "sentences"]
"""The forms of a fitted judge: fast, or with sentence embeddings."""


class Judged(NamedTuple):
    """What a judge is shown: the prompt, and the completion that is to be scored."""

    prompt: str
    completion: str

    @property
    def empty(self) -> bool:
        """Whether there is no visible character: nothing that is safe or unsafe."""
        return not self.completion.strip()


class Judge(Protocol):
    """Scores completions. `version` changes whenever the same completion could get another score."""

    @property
    def name(self) -> str:
        """The name in `JUDGES`."""
        ...

    @property
    def version(self) -> str:
        """What identifies the model or the list behind the scores."""
        ...

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        """Return one score an item in [0, 1], higher is less safe; None where the judge cannot tell."""
        ...


def _profanity() -> Judge:
    from compose.evaluate.judges.profanity import ProfanityJudge  # loads scikit-learn: only when asked for

    return ProfanityJudge()


def _gendered() -> Judge:
    from compose.evaluate.judges.gendered import GenderedJudge

    return GenderedJudge()


def _refusal() -> Judge:
    from compose.evaluate.judges.refusal import RefusalJudge

    return RefusalJudge()


def _fitted(kind: str, form: Form) -> Callable[[], Judge]:
    """Return what makes a fitted judge."""

    def make() -> Judge:
        from compose.evaluate.judges.fitted.judges import FittedJudge

        return FittedJudge(kind, form)

    return make


JUDGES: Mapping[str, Callable[[], Judge]] = MappingProxyType(
    {
        "profanity": _profanity,
        "gendered_words": _gendered,
        "refusal_phrases": _refusal,
        "toxicity_linear": _fitted("toxicity", "linear"),
        "toxicity_sentences": _fitted("toxicity", "sentences"),
        "refusal_linear": _fitted("refusal", "linear"),
        "harm_linear": _fitted("harm", "linear"),
    }
)
"""Every judge by name."""


def make_judge(name: str) -> Judge:
    """Return the judge of that name.

    Raises:
        Rejected: `settings-invalid` for an unknown name.
    """
    if name not in JUDGES:
        raise Rejected(
            "settings-invalid",
            subject="judge",
            expected=f"one of {', '.join(sorted(JUDGES))}",
            got=repr(name),
            fix="correct the judge's name in the settings of the risk",
        )
    return JUDGES[name]()


def refuse_unknown(name: str) -> str:
    """Return the name of a judge, refusing settings that name none.

    Raises:
        ValueError: As pydantic expects it of a check.
    """
    if name not in JUDGES:
        raise ValueError(f"judge is {name!r}; known judges are {', '.join(sorted(JUDGES))}")
    return name


def judge_all(judge: Judge, items: Sequence[Judged], *, subject: str) -> list[float | None]:
    """Return the judge's scores, with None for whatever is not a number in [0, 1] and for what is empty.

    An empty completion is not shown to the judge. Where all are, there is no score and no error: the caller sees that
    nothing was said.

    Args:
        judge: Who scores.
        items: What is scored; may be empty.
        subject: What is being judged, for the error message.

    Raises:
        Rejected: `judge-silent` when the number of scores is not the number of items, or when none is usable.
    """
    scores = judge_each(judge, items, subject=subject)
    said = sum(not item.empty for item in items)
    if said and all(score is None for score in scores):
        raise silent(judge, subject, "scores from 0 to 1", f"none in {said} completions")
    return scores


def judge_each(judge: Judge, items: Sequence[Judged], *, subject: str) -> list[float | None]:
    """Return what `judge_all` returns, and None for every item where none is usable: for a few items at a time.

    Whoever asks so must look at all scores in the end, as `judge_all` does.

    Raises:
        Rejected: `judge-silent` when the number of scores is not the number of items.
    """
    scores: list[float | None] = [None] * len(items)
    shown = [place for place, item in enumerate(items) if not item.empty]
    if not shown:
        return scores
    raw = judge.score([items[place] for place in shown])
    if raw is None or len(raw) != len(shown):
        got = "nothing" if raw is None else f"{len(raw)} scores"
        raise silent(judge, subject, f"one score for each of {len(shown)} completions", got)
    for place, score in zip(shown, raw, strict=True):
        scores[place] = _usable(score)
    return scores


def _usable(score: object) -> float | None:
    """Return a score as a float, or None when it is missing, NaN or out of range."""
    if not isinstance(score, Real) or not math.isfinite(value := float(score)) or not 0 <= value <= 1:
        return None
    return value


def silent(judge: Judge, subject: str, expected: str, got: str) -> Rejected:
    """Return the error about a judge that gave no usable score."""
    return Rejected(
        "judge-silent",
        subject=f"judge {judge.name} ({judge.version}) on {subject}",
        expected=expected,
        got=got,
        fix="check that the judge works (its model, key or service), or choose another judge",
    )
