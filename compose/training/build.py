"""Making preference pairs: the base's worst completions against a reference's best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass as plain
from dataclasses import replace
from math import ceil
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from compose.base import PLAIN_CHAT, Base, stop_ids
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged, judge_all
from compose.evaluate.prompts import Prompt, render
from compose.records import SETTINGS
from compose.training.completions import (
    Draw,
    Request,
    Response,
    answer_ids,
    completion_text,
    continuation_ids,
    draw_responses,
    joined,
    turn_end,
)
from compose.training.filters import MEANINGS, Filters, FilterTable, Outcome
from compose.training.pairs import Pair, PairSet
from compose.training.references import Reference
from compose.training.sampling_cache import GenerationStore

CURES = {
    "unanswered": "give the reference answers to these prompts, or see why it fails",
    "empty": "raise max_new_tokens, or choose another reference",
    "unjudged": "choose a judge that can score these texts",
    "duplicate": "use more prompts, more samples or a higher temperature, or another reference",
    "margin": "lower pairs.filters.margin, draw more samples, or choose prompts that the base answers worse",
    "reversed": "choose a reference that is safer than the base by this judge",
    "winner": "raise pairs.filters.winner, draw more reference samples, or choose a safer reference",
}
"""What to change when a filter dropped most of the candidates."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PairSettings:
    """How pairs are made of prompts.

    Args:
        filters: Which pairs are worth training on.
        samples: Completions of the base a prompt, of which the worst are rejected.
        reference_samples: Answers of the reference a prompt, of which the best are chosen.
        pairs_per_prompt: The most pairs of one prompt: worst with best, second worst with second best, ...
        sampling: How the base's completions are drawn. Its length also limits what a reference has written.
        reference_sampling: How the reference's answers are drawn; None draws them like the base's.
        min_pairs: With fewer pairs than this, nothing is trained.
        share: The share of the training prompts that pairs are made of: the first ones, their order being random.
    """

    filters: Filters
    samples: Annotated[int, Field(gt=0)] = 4
    reference_samples: Annotated[int, Field(gt=0)] = 4
    pairs_per_prompt: Annotated[int, Field(gt=0)] = 1
    sampling: Sampling = Sampling()
    reference_sampling: Sampling | None = None
    min_pairs: Annotated[int, Field(gt=0)] = 8
    share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        """Refuse more pairs a prompt than there are completions to make them of."""
        if self.pairs_per_prompt > min(self.samples, self.reference_samples):
            raise ValueError("pairs_per_prompt must not be above samples or reference_samples")
        return self


@plain(frozen=True, kw_only=True)
class PairTask:
    """What pairs are wanted for.

    Args:
        risk: Name of the risk.
        prompts: Its training prompts, each with an id of its own.
        judge: Its judge.
    """

    risk: str
    prompts: tuple[Prompt, ...]
    judge: Judge


class _Candidate(NamedTuple):
    """One completion, ready to be one side of a pair; no ids stand for no completion."""

    ids: tuple[int, ...]
    text: str
    score: float | None = None


class _Side(NamedTuple):
    """One side's usable completions of a prompt in the order of use, and why the others are not usable."""

    usable: list[_Candidate]
    lost: list[Outcome]


def build_pairs(
    base: Base,
    reference: Reference,
    task: PairTask,
    settings: PairSettings,
    *,
    seed: int,
    store: GenerationStore | None = None,
) -> PairSet:
    """Return the pairs of a risk: rejected from the base, chosen from the reference (2511.08484).

    Of several samples a prompt, the worst of the base's and the best of the reference's are taken, by the
    judge's score. The table counts what became of every candidate.

    Raises:
        Rejected: `pairs-empty` when fewer than `settings.min_pairs` are left, `judge-silent`, and what the
            reference raises.
    """
    task = replace(task, prompts=task.prompts[: ceil(settings.share * len(task.prompts))])
    requests = [Request(prompt.id, render(base.tokenizer, prompt)) for prompt in task.prompts]
    draw = Draw(samples=settings.samples, sampling=settings.sampling, seed=seed, store=store)
    drawn = draw_responses(base, requests, draw, f"{task.risk}: samples of the base")
    sampling = settings.reference_sampling or settings.sampling
    answers = reference.respond(task.prompts, settings.reference_samples, sampling, seed)
    fit = _Fit(base, sampling.max_new_tokens)
    sides = [
        [fit.candidate(prompt, request.ids, one) for one in responses]
        for responses_of in (drawn, answers)
        for prompt, request, responses in zip(task.prompts, requests, responses_of, strict=True)
    ]
    scored = _scored(task, sides)
    maker = _Maker(task, settings, reference.name, seed)
    for prompt, request, worst, best in zip(
        task.prompts, requests, scored[: len(requests)], scored[len(requests) :], strict=True
    ):
        maker.add(prompt, request.ids, _ranked(worst, worst_first=True), _ranked(best, worst_first=False))
    return _enough(maker.result(), task.risk, settings.min_pairs)


class _Fit:
    """Turns responses into candidates: drawn tokens stay as they are, text is tokenised to fit its prompt.

    Args:
        base: Whose tokenizer it is.
        limit: The most tokens of a completion; longer text is cut, and then does not end.
    """

    def __init__(self, base: Base, limit: int) -> None:
        self.tokenizer = base.tokenizer
        self.limit = limit
        self.stops = stop_ids(base)
        self.end = turn_end(base.tokenizer, self.stops)

    def candidate(self, prompt: Prompt, prompt_ids: tuple[int, ...], response: Response) -> _Candidate:
        """Return a response as tokens and text behind the prompt."""
        if response.ids is not None:
            return _Candidate(response.ids, response.text)
        text = response.text.encode("utf-8", "replace").decode("utf-8")  # servers may send half a surrogate pair
        if prompt.chat and self.tokenizer.chat_template is not None:
            text = text.strip()
            ids = answer_ids(self.tokenizer, text)
        else:
            head = PLAIN_CHAT.format(text=prompt.text) if prompt.chat else prompt.text
            text = joined(head, text)
            ids = continuation_ids(self.tokenizer, head, prompt_ids, text)
        if len(ids) > self.limit:
            ids = ids[: self.limit]
            text = completion_text(self.tokenizer, prompt_ids, ids, self.stops)
        elif response.ended and self.end is not None and 0 < len(ids) < self.limit:
            ids = (*ids, self.end)
        return _Candidate(ids, text)


class _Maker:
    """Makes the pairs of one risk, prompt by prompt, and counts what becomes of the candidates."""

    def __init__(self, task: PairTask, settings: PairSettings, reference: str, seed: int) -> None:
        self.task = task
        self.seed = seed
        self.settings = settings
        self.reference = reference
        self.pairs: dict[tuple[tuple[int, ...], ...], Pair] = {}
        self.counts: Counter[Outcome] = Counter()

    def add(self, prompt: Prompt, prompt_ids: tuple[int, ...], rejected: _Side, chosen: _Side) -> None:
        """Make up to `pairs_per_prompt` pairs of one prompt."""
        for place in range(self.settings.pairs_per_prompt):
            self.counts[self._make(prompt, prompt_ids, (rejected, chosen), place)] += 1

    def result(self) -> PairSet:
        """Return the pairs and the table."""
        return PairSet(tuple(self.pairs.values()), _table(self.counts))

    def _make(self, prompt: Prompt, prompt_ids: tuple[int, ...], sides: tuple[_Side, _Side], place: int) -> Outcome:
        """Return what becomes of the sides' completions at `place`: a pair of them is made, or it is not."""
        short = [why for side in sides if len(side.usable) <= place for why in side.lost or ["unanswered"]]
        if short:
            return min(short, key=list(MEANINGS).index)
        rejected, chosen = (side.usable[place] for side in sides)
        key = (prompt_ids, chosen.ids, rejected.ids)
        if chosen.ids == rejected.ids or chosen.text.strip() == rejected.text.strip() or key in self.pairs:
            return "duplicate"
        if chosen.score is None or rejected.score is None:  # _ranked leaves none of these
            return "unjudged"
        outcome = self.settings.filters.outcome(chosen.score, rejected.score)
        if outcome == "kept":
            self.pairs[key] = Pair(
                risk=self.task.risk,
                prompt_id=prompt.id,
                prompt_ids=prompt_ids,
                chosen_ids=chosen.ids,
                rejected_ids=rejected.ids,
                prompt=prompt.text,
                chosen=chosen.text,
                rejected=rejected.text,
                chosen_score=chosen.score,
                rejected_score=rejected.score,
                judge=f"{self.task.judge.name} {self.task.judge.version}",
                reference=self.reference,
                sampling=self.settings.sampling,
                reference_sampling=self.settings.reference_sampling or self.settings.sampling,
                seed=self.seed,
            )
        return outcome


def _scored(task: PairTask, sides: Sequence[Sequence[_Candidate]]) -> list[list[_Candidate]]:
    """Return the candidates with the judge's scores; `sides` holds the task's prompts in order, twice."""
    prompts = (*task.prompts, *task.prompts)
    items = [Judged(p.text, one.text) for p, side in zip(prompts, sides, strict=True) for one in side]
    scores = iter(judge_all(task.judge, items, subject=f"pairs of {task.risk}"))
    return [[one._replace(score=next(scores)) for one in side] for side in sides]


def _ranked(candidates: Sequence[_Candidate], *, worst_first: bool) -> _Side:
    """Return one side of a prompt: usable completions by score, those of equal score in their old order."""
    usable: dict[tuple[int, ...], _Candidate] = {}
    lost: list[Outcome] = []
    for one in candidates:
        if not _says_something(one):
            lost.append("empty")
        elif one.score is None:
            lost.append("unjudged")
        elif one.ids in usable:
            lost.append("duplicate")
        else:
            usable[one.ids] = one
    sign = -1.0 if worst_first else 1.0
    return _Side(sorted(usable.values(), key=lambda one: sign * (one.score or 0.0)), lost)


def _says_something(candidate: _Candidate) -> bool:
    """Return whether a completion has a letter or a digit: punctuation alone teaches nothing."""
    return any(character.isalnum() for character in candidate.text)


def _table(counts: Counter[Outcome]) -> FilterTable:
    """Return the table of these outcomes."""
    return FilterTable(candidates=counts.total(), **{str(name): count for name, count in counts.items()})


def _enough(made: PairSet, risk: str, wanted: int) -> PairSet:
    """Return the pairs, if they are as many as wanted.

    Raises:
        Rejected: `pairs-empty`, with the table and what to change about the filter that dropped most.
    """
    if len(made.pairs) >= wanted:
        return made
    dropped = made.table.dropped()
    most = max(dropped, key=lambda name: dropped[name], default=None)
    counts = ", ".join(f"{count} {name}" for name, count in dropped.items()) or "nothing dropped"
    raise Rejected(
        "pairs-empty",
        subject=f"pairs of {risk}",
        expected=f"at least {wanted} pairs",
        got=f"{len(made.pairs)} of {made.table.candidates} candidates ({counts})",
        fix=CURES[most] if most else "give more prompts, or lower pairs.min_pairs",
    )
