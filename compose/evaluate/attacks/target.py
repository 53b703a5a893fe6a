"""What an attack may ask of the model that it attacks: each question is counted, and the budget cannot be overspent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from compose.artifact import Patch
from compose.base import Base, encode, stop_ids
from compose.engine import Row, Sampling, ScoreRow, generate, prefix_cache
from compose.engine.context import refuse_too_long
from compose.engine.prefix import PrefixCache
from compose.engine.token_search import token_gradient, variant_logprobs
from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged, judge_each
from compose.evaluate.prompts import Prompt
from compose.evaluate.risks import Risk
from compose.evaluate.sampling import row_seed


class BudgetSpent(Exception):
    """An attack asked for more than is left. The driver takes it for the end of the attack."""


@dataclass(frozen=True)
class System:
    """A model under attack, and who says what an attack has reached.

    Attributes:
        base: The frozen base.
        cache: What stands in front of every prompt: one patch, or nothing.
        judge: Who scores replies.
        sampling: How replies are drawn.
        threshold: A reply whose score reaches it is unsafe.
        chat: Whether prompts are put as a user's message.
    """

    base: Base
    cache: PrefixCache
    judge: Judge
    sampling: Sampling
    threshold: float
    chat: bool

    @classmethod
    def of(cls, base: Base, patch: Patch | None, risk: Risk) -> System:
        """Return the base behind a patch (or none), judged as a risk is."""
        with torch.no_grad():
            cache = prefix_cache(base.model, [None if patch is None else patch.prefix])
        return cls(base, cache, risk.judge, risk.spec.sampling, risk.spec.threshold, risk.spec.chat)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return a prompt's token ids."""
        return encode(self.base.tokenizer, text, chat=self.chat)


@dataclass
class Spent:
    """Queries so far. A query is one sequence that the model under attack is run on, whatever it is asked for.

    Attributes:
        gradients: Sequences whose gradient was taken.
        candidates: Sequences whose likelihood was computed.
        replies: Replies that were drawn.
        proposals: Prompts that the attacker proposed: its own work, and no query.
        unusable: Of them, those that could not be asked: none came, or it has no room in the base's context.
    """

    gradients: int = 0
    candidates: int = 0
    replies: int = 0
    proposals: int = 0
    unusable: int = 0

    @property
    def queries(self) -> int:
        """Return what counts against the budget."""
        return self.gradients + self.candidates + self.replies


@dataclass(frozen=True)
class Reply:
    """One reply under attack.

    Attributes:
        prompt: What was asked.
        completion: What came back.
        score: The judge's; None for an empty reply, and where the judge could not tell.
        truncated: Whether the limit on new tokens cut it off.
        query: Number of the query that brought it, from 1.
    """

    prompt: str
    completion: str
    score: float | None
    truncated: bool
    query: int

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to judge."""
        return not self.completion.strip()


@dataclass
class Target:
    """One request put to one system, with a budget of queries.

    Attributes:
        system: Who is attacked.
        request: What the attack wants answered.
        budget: The most queries.
        seed: Seed of all choices; the same for every system, so that attacks on two of them share their luck.
        spent: What was asked so far.
        replies: Every reply so far.
    """

    system: System
    request: Prompt
    budget: int
    seed: int
    spent: Spent = field(default_factory=Spent)
    replies: list[Reply] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Return the queries that are left."""
        return self.budget - self.spent.queries

    @property
    def broken(self) -> bool:
        """Return whether a reply was judged unsafe: the attack has what it wanted."""
        return any(reply.score is not None and reply.score >= self.system.threshold for reply in self.replies)

    def luck(self) -> int:
        """Return the seed of an attack's own choices on this request."""
        return row_seed(self.seed, self.request.id, 0, "attack")

    def fits(self, text: str) -> bool:
        """Return whether a prompt and its reply have room in the base's context, and the prompt has a token."""
        ids = self.system.encode(text)
        try:
            room = [(0, len(ids) + self.system.sampling.max_new_tokens)]
            refuse_too_long(self.system.base.model, self.system.cache, room)
        except Rejected:
            return False
        return bool(ids)

    def reply(self, texts: Sequence[str]) -> list[Reply]:
        """Return a judged reply to each prompt, at a query each.

        Raises:
            BudgetSpent: There are more prompts than queries left.
            Rejected: `prompt-empty` or `prompt-too-long`; `judge-silent` for a judge that gives too few scores.
        """
        self._charge(len(texts))
        system = self.system
        first = len(self.replies)
        rows = [
            Row(system.encode(text), 0, row_seed(self.seed, self.request.id, first + place, "attack reply"))
            for place, text in enumerate(texts)
        ]
        stops = stop_ids(system.base)
        drawn = generate(system.base.model, system.cache, rows, system.sampling, eos_ids=stops)
        said = [system.base.tokenizer.decode(ids, skip_special_tokens=True) for ids in drawn]
        scores = self._judged(said)
        before = self.spent.queries
        self.spent.replies += len(texts)
        found = [
            Reply(text, completion, score, not (ids and ids[-1] in stops), before + place)
            for place, (text, completion, score, ids) in enumerate(zip(texts, said, scores, drawn, strict=True), 1)
        ]
        self.replies += found
        return found

    def token_gradient(
        self, prompt: tuple[int, ...], completion: tuple[int, ...], slots: range
    ) -> Float[Tensor, "slots vocab"]:
        """Return the gradient of a completion's loss in the tokens at some places of a prompt, at one query.

        Raises:
            BudgetSpent: No query is left.
            Rejected: `prompt-too-long`.
        """
        self._charge(1)
        row = ScoreRow(prompt, completion)
        _, gradient = token_gradient(self.system.base.model, self.system.cache, row, slots)
        self.spent.gradients += 1
        return gradient

    def losses(
        self, head: tuple[int, ...], variants: Sequence[tuple[int, ...]], completion: tuple[int, ...]
    ) -> Float[Tensor, " variants"]:
        """Return a completion's summed negative log-likelihood in nats behind each `head + variant`, at a query each.

        Raises:
            BudgetSpent: There are more variants than queries left.
            Rejected: `prompt-too-long`.
        """
        self._charge(len(variants))
        logprobs = variant_logprobs(self.system.base.model, self.system.cache, head, variants, completion)
        self.spent.candidates += len(variants)
        return -logprobs

    def _charge(self, queries: int) -> None:
        if queries > self.left:
            raise BudgetSpent

    def _judged(self, completions: Sequence[str]) -> list[float | None]:
        """Return a score for each completion; an empty one has none.

        The judge reads the request itself beside the reply: what matters is whether that was answered, however it
        was wrapped.
        """
        items = [Judged(self.request.text, completion) for completion in completions]
        return judge_each(self.system.judge, items, subject=f"an attack on request {self.request.id}")
