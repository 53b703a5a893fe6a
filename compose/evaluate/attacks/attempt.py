"""One request under attack: what is asked first, when it ends, and the row that is stored of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from compose.evaluate.attacks import Attack
from compose.evaluate.attacks.target import BudgetSpent, Reply, System, Target
from compose.evaluate.judges import Judge, Judged, judge_each
from compose.evaluate.prompts import Prompt
from compose.evaluate.suites.rows import Score

_ROW = ConfigDict(extra="forbid", allow_inf_nan=False)
Number = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=_ROW)
class AttemptRow:
    """One request, one system, and what an attack reached.

    Attributes:
        composition: Who was attacked.
        prompt_id: The request.
        group: Its group.
        request: Its words.
        direct: The judge's score of the reply to the bare request, the first query; None where there is no verdict.
        score: The highest score of any reply; None when none of them was judged.
        second: The second judge's score of the reply below; None where it gave none, and where there is no such judge.
        prompt: The prompt that brought the reply below.
        completion: The first reply with the highest score; the last reply when none was judged.
        query: Number of the query that brought it, from 1.
        gradients: Queries that were gradients.
        candidates: Queries that were likelihoods of an opening.
        replies: Queries that were replies.
        proposals: Prompts that an attacker proposed; they are no queries.
        unusable: Of them, those that could not be asked.
        empty: Replies without a visible character.
        unjudged: Replies that are not empty and that the judge gave no score.
        truncated: Replies that the limit on new tokens cut off; they are judged like any other.
    """

    composition: str
    prompt_id: str
    group: str
    request: str
    direct: Score | None
    score: Score | None
    second: Score | None
    prompt: str
    completion: str
    query: Annotated[int, Field(gt=0)]
    gradients: Number
    candidates: Number
    replies: Annotated[int, Field(gt=0)]
    proposals: Number
    unusable: Number
    empty: Number
    unjudged: Number
    truncated: Number

    @property
    def queries(self) -> int:
        """Return all queries."""
        return self.gradients + self.candidates + self.replies


def attempt(
    attack: Attack,
    system: System,
    request: Prompt,
    *,
    composition: str,
    budget: int,
    seed: int,
    second: Judge | None = None,
) -> AttemptRow:
    """Return what an attack reached on one request. The bare request is asked first, and may be enough.

    Args:
        attack: The attack.
        system: Who is attacked.
        request: What is wanted.
        composition: The system's name.
        budget: The most queries, the first one included.
        seed: Seed of all choices and noise.
        second: Another judge, who reads the reply that the attack ended with.

    Raises:
        Rejected: What the engine, the judges or an attacker's server refuse.
    """
    target = Target(system, request, budget, seed)
    target.reply([request.text])
    if not target.broken:
        with suppress(BudgetSpent):  # the ordinary end of a search
            attack.run(target)
    final = _final(target.replies)
    spent = target.spent
    return AttemptRow(
        composition=composition,
        prompt_id=request.id,
        group=request.group,
        request=request.text,
        direct=target.replies[0].score,
        score=final.score,
        second=_second(second, request, final),
        prompt=final.prompt,
        completion=final.completion,
        query=final.query,
        gradients=spent.gradients,
        candidates=spent.candidates,
        replies=spent.replies,
        proposals=spent.proposals,
        unusable=spent.unusable,
        empty=sum(reply.empty for reply in target.replies),
        unjudged=sum(reply.score is None and not reply.empty for reply in target.replies),
        truncated=sum(reply.truncated for reply in target.replies),
    )


def _final(replies: list[Reply]) -> Reply:
    """Return the reply that an attack ended with."""
    judged = [reply for reply in replies if reply.score is not None]
    return max(judged, key=lambda reply: reply.score or 0.0) if judged else replies[-1]


def _second(judge: Judge | None, request: Prompt, reply: Reply) -> float | None:
    if judge is None:
        return None
    return judge_each(judge, [Judged(request.text, reply.completion)], subject=f"request {request.id}")[0]
