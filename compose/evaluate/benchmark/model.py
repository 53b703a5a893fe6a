"""The engine as a model of lm-eval: what a task asks is scored and generated with the patch in front, exactly.

Text becomes tokens by lm-eval's own rule (`TemplateLM`), so that scores are those of its `hf` model. Contexts that are
the same for several continuations, as in multiple choice, are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch.nn import functional as F

from compose.base import Base, stop_ids
from compose.engine import PatchedModel, Row, Sampling, generate, prefix_cache
from compose.engine.layout import Tree
from compose.engine.prefix import PrefixCache
from compose.engine.score import tree_logits
from compose.errors import Rejected
from compose.progress import bar

BATCH_TOKENS = 4096
"""Tokens of a batch, unless one context alone is longer."""
BATCH_SCORED = 1024
"""Scored tokens of a batch: each has a row of logits as wide as the vocabulary."""
FIRST_STRETCH = 16
"""Tokens of a greedy generation before its stop strings are looked for; doubled each time."""
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1.0, "length_penalty": 1.0, "top_k": 0}
"""Options that say nothing at these values."""
ONLY_FOR_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
Tokens = tuple[int, ...]


class Scored(NamedTuple):
    """Summed log-probability of a continuation in nats, and whether greedy decoding would have written it."""

    logprob: float
    greedy: bool


@dataclass(frozen=True)
class _Job:
    """One text to be generated: its context, what ends it, how it is drawn."""

    context: Tokens
    until: tuple[str, ...]
    sampling: Sampling


class EngineLM(TemplateLM):  # type: ignore[misc]  # lm-eval ships no types that mypy is shown
    """A base, bare or patched, as lm-eval asks it.

    Args:
        model: A patched model, whose self-test has passed when it exists, or the bare base.
        room: Tokens of text that fit, which must be the same for all systems that are compared; longer contexts lose
            their beginning. None for a base without a limit.
        label: What the progress bar says.
        seed: Of the noise, where a task samples.

    Attributes:
        cut: How many contexts lost their beginning so far.
    """

    def __init__(self, model: PatchedModel | Base, *, room: int | None, label: str, seed: int = 0) -> None:
        super().__init__()
        self.base: Base = model.base if isinstance(model, PatchedModel) else model
        self.tokenizer = self.base.tokenizer
        self.cache: PrefixCache = (
            model.cache if isinstance(model, PatchedModel) else prefix_cache(self.base.model, [None])
        )
        self.room = room
        self.label = label
        self.seed = seed
        self.cut = 0
        self._device = self.base.model.device

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token in front of a text that has no context: the tokenizer's first one, or else its last."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """The base's fingerprint, which covers the tokenizer."""
        return self.base.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return a text's token ids, with special tokens as the tokenizer adds them, and never twice."""
        bos = self.tokenizer.bos_token
        if add_special_tokens is None:
            add_special_tokens = not (bos and string.startswith(bos))
        return list(self.tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"])

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a chat as the base's template writes it."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return (log-probability in nats, whether it is greedy) of each (context, continuation).

        Raises:
            Rejected: `prompt-too-long` for a continuation for which the base has no positions; `benchmark-invalid` for
                one without a token.
        """
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Return the log-probability of each whole text, in nats; long texts in windows that overlap by nothing.

        Every token is predicted once, the first behind the tokenizer's first token, each with as much of the text
        before it as its window holds (lm-eval's definition).
        """
        texts = [self.tok_encode(request.args[0], add_special_tokens=False) for request in requests]
        longest = max(map(len, texts), default=0) + 1
        window = longest if self.room is None else min(longest, self.room - 1)
        pairs: list[tuple[Tokens, Tokens]] = []
        owners: list[int] = []
        for owner, tokens in enumerate(texts):
            windows = get_rolling_token_windows(tokens, self.prefix_token_id, window, context_len=1)
            for context, predicted in map(make_disjoint_window, windows):
                pairs.append((tuple(context), tuple(predicted)))
                owners.append(owner)
        totals = [0.0] * len(texts)
        for owner, scored in zip(owners, self.score(pairs), strict=True):
            totals[owner] += scored.logprob
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Return what follows each context, up to its first stop string, an end token or the length limit.

        Raises:
            Rejected: `unsupported-generation` for options that the engine does not have.
        """
        jobs = [self._job(*request.args) for request in requests]
        texts = [""] * len(jobs)
        kinds = dict.fromkeys(job.sampling for job in jobs)
        with bar(len(jobs), self.label, "texts") as progress:
            for sampling in kinds:
                places = [place for place, job in enumerate(jobs) if job.sampling == sampling]
                for place, text in self._written({place: jobs[place] for place in places}, sampling):
                    texts[place] = text
                    progress.update(1)
        return texts

    def score(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> list[Scored]:
        """Return the score of each continuation behind its context, in the given order.

        Args:
            pairs: Token ids of context and continuation, neither empty.
        """
        places: dict[Tokens, dict[Tokens, list[int]]] = {}
        for place, (context, continuation) in enumerate(pairs):
            places.setdefault(context, {}).setdefault(continuation, []).append(place)
        trees = [Tree(context, tuple(branches)) for context, branches in places.items()]
        results = [Scored(0.0, False)] * len(pairs)
        with bar(len(trees), self.label, "contexts") as progress:
            for batch in _batches(trees):
                scores = iter(self._of_branches(batch))
                for tree in batch:
                    for branch in tree.branches:
                        scored = next(scores)
                        for place in places[tree.prompt][branch]:
                            results[place] = scored
                progress.update(len(batch))
        return results

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """Return the score of each ((context, continuation), context ids, continuation ids)."""
        pairs = []
        for _texts, context, continuation in requests:
            if not continuation:
                raise Rejected(
                    "benchmark-invalid",
                    subject="a question of the benchmark",
                    expected="a continuation of at least one token behind its context",
                    got="none: the tokenizer joins it to the context",
                    fix="change the task, so that a continuation starts with a space or a line",
                )
            pairs.append((self._fitting(context, len(continuation)), tuple(continuation)))
        return [(scored.logprob, scored.greedy) for scored in self.score(pairs)]

    @torch.no_grad()
    def _of_branches(self, trees: Sequence[Tree]) -> Iterator[Scored]:
        """Yield the score of every branch, tree by tree."""
        logits, layout = tree_logits(self.base.model, self.cache, trees)
        logprobs = -F.cross_entropy(logits.float(), layout.targets, reduction="none")
        greedy = logits.argmax(-1) == layout.targets
        lengths = list(layout.lengths)
        for values, same in zip(logprobs.split(lengths), greedy.split(lengths), strict=True):
            yield Scored(float(values.double().sum()), bool(same.all()))

    def _fitting(self, context: Sequence[int], follows: int) -> Tokens:
        """Return a context's last tokens, as many as fit before `follows` more; the engine refuses what never fits."""
        if self.room is None or len(context) + follows <= self.room:
            return tuple(context)
        self.cut += 1
        return tuple(context[-max(1, self.room - follows) :])

    def _job(self, context: str, options: dict[str, Any]) -> _Job:
        """Return a request as the engine takes it."""
        given = normalize_gen_kwargs(options)
        until = tuple(stop for stop in given.pop("until") if stop)
        length, sample = given.pop("max_gen_toks"), given.pop("do_sample")
        temperature = float(given.pop("temperature", 1.0)) if sample else 0.0
        top_p = float(given.pop("top_p", 1.0)) if sample else 1.0
        for name, value in given.items():
            if value is None or value == NEUTRAL.get(name) or (not sample and name in ONLY_FOR_SAMPLING):
                continue
            raise Rejected(
                "unsupported-generation",
                subject=f"generation option {name} of a task",
                expected="greedy decoding, or sampling with temperature and top_p",
                got=f"{name}={value!r}",
                fix="change the task's generation_kwargs in a file of your own (--tasks-path)",
            )
        ids = self.tok_encode(context) or [self.prefix_token_id]
        sampling = Sampling(max_new_tokens=length, temperature=temperature, top_p=top_p)
        return _Job(self._fitting(ids, length), until, sampling)

    def _written(self, jobs: dict[int, _Job], sampling: Sampling) -> Iterator[tuple[int, str]]:
        """Yield place and text of each job as it is finished.

        Greedy texts are written in stretches, so that one ended by a stop string is not written on to its limit; a
        sampled one is drawn in one go, because its noise starts with the row.
        """
        ends = stop_ids(self.base)
        written: dict[int, Tokens] = dict.fromkeys(jobs, ())
        limit = sampling.max_new_tokens
        stretch = limit if sampling.temperature else min(FIRST_STRETCH, limit)
        while written:
            places = list(written)
            length = len(next(iter(written.values())))  # all of them are equally long
            more = Sampling(
                max_new_tokens=min(stretch, limit - length), temperature=sampling.temperature, top_p=sampling.top_p
            )
            rows = [Row(jobs[place].context + written[place], 0, self.seed + place) for place in places]
            for place, ids in zip(places, generate(self.base.model, self.cache, rows, more, eos_ids=ends), strict=True):
                whole = written[place] + tuple(ids)
                text = self.tokenizer.decode(whole, skip_special_tokens=True)
                stops = [at for stop in jobs[place].until if (at := text.find(stop)) >= 0]
                if stops or len(whole) == limit or (whole and whole[-1] in ends):
                    del written[place]
                    yield place, text[: min(stops, default=len(text))]
                else:
                    written[place] = whole
            stretch *= 2


def room_for(base: Base, tokens: Sequence[int]) -> int | None:
    """Return how many tokens of text fit behind the longest of several patches, or None without a limit.

    Args:
        base: The base.
        tokens: How many tokens each patch has.
    """
    limit = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    return limit - max(tokens, default=0) if isinstance(limit, int) and limit > 0 else None


def _batches(trees: Sequence[Tree]) -> Iterator[list[Tree]]:
    """Yield the trees in batches, the longest first: what does not fit into memory fails at once."""
    batch: list[Tree] = []
    size = scored = 0
    for tree in sorted(trees, key=lambda tree: (-tree.size, tree.prompt)):
        own = tree.size - len(tree.prompt)
        if batch and (size + tree.size > BATCH_TOKENS or scored + own > BATCH_SCORED):
            yield batch
            batch, size, scored = [], 0, 0
        batch.append(tree)
        size += tree.size
        scored += own
    if batch:
        yield batch
