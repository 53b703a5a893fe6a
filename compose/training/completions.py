"""Completions as token ids and as text: drawing them, where they end, how they read behind their prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from compose.base import Base, stop_ids
from compose.engine import Row, Sampling
from compose.evaluate.sampling import row_seed
from compose.training.sampling_cache import GenerationStore, cached_generate

NO_SPACE_BEFORE = frozenset(".,;:!?)]}'\"%-/\u2013\u2014\u2019\u201d\u2026")
"""Characters that follow a word directly, so that a continuation that starts with one gets no space."""
NO_SPACE_AFTER = frozenset("([{-/#@$\u2013\u2014\u2018\u201c")
"""Characters that the next word follows directly."""


SEED_PURPOSE = "pairs"
"""Training samples share no noise with the samples that choose prompts and with those that measure."""


class Response(NamedTuple):
    """One answer to one prompt.

    Args:
        text: The answer as read behind the prompt: a continuation keeps its leading space.
        ids: The tokens as they were drawn, for a model that shares the base's vocabulary; None for mere text.
        ended: Whether the answer ended of itself, rather than at a limit of length.
    """

    text: str
    ids: tuple[int, ...] | None
    ended: bool


class Request(NamedTuple):
    """One prompt as a model reads it, under the name that its samples' seeds are made of."""

    prompt_id: str
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How samples are drawn: their number, the sampling settings, the seed, and where they are kept.

    Args:
        samples: Samples a prompt.
        sampling: How tokens are drawn.
        seed: The run's seed.
        store: Where samples are kept; None keeps nothing.
    """

    samples: int
    sampling: Sampling
    seed: int
    store: GenerationStore | None = None


def draw_responses(base: Base, requests: Sequence[Request], draw: Draw, label: str) -> list[list[Response]]:
    """Return `draw.samples` responses of the unpatched base to each request.

    A sample's noise depends on the run's seed, the prompt's name and its number, so the first k of n samples
    are the k samples that would have been drawn alone.

    Args:
        base: The model.
        requests: The prompts as token ids.
        draw: How many samples, how drawn, and where kept.
        label: What the progress bar says.
    """
    rows = [
        Row(request.ids, 0, row_seed(draw.seed, request.prompt_id, sample, SEED_PURPOSE))
        for request in requests
        for sample in range(draw.samples)
    ]
    drawn = cached_generate(base, [None], rows, draw.sampling, draw.store, label=label)
    stops = stop_ids(base)
    responses = [
        Response(completion_text(base.tokenizer, row.prompt, ids, stops), ids, bool(ids) and ids[-1] in stops)
        for row, ids in zip(rows, drawn, strict=True)
    ]
    return [responses[start : start + draw.samples] for start in range(0, len(responses), draw.samples)]


def turn_end(tokenizer: PreTrainedTokenizerBase, stops: frozenset[int]) -> int | None:
    """Return the id of the token that ends an answer, by the chat template if there is one: None without any.

    It differs from the tokenizer's EOS where a chat model keeps that of the model it was made from.

    Args:
        tokenizer: The base's tokenizer.
        stops: The ids that end a generation; a template's end that generation would run past is not taken.
    """
    eos: int | None = tokenizer.eos_token_id
    if tokenizer.chat_template is None:
        return eos
    mark = "qqanswerqq"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
    rendered = str(tokenizer.apply_chat_template(turns, tokenize=False))
    tail = tokenizer(rendered.rpartition(mark)[2], add_special_tokens=False)["input_ids"]
    return next((int(token) for token in tail if token in stops), eos)


def completion_text(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    completion: Sequence[int],
    stops: frozenset[int],
) -> str:
    """Return a completion as it reads behind its prompt, without the token that ended it.

    It is cut out of the decoded whole: tokenizers of the SentencePiece kind drop the first space of what they
    decode.
    """
    ids = list(completion)
    if ids and ids[-1] in stops:
        ids = ids[:-1]
    head = str(tokenizer.decode(list(prompt), skip_special_tokens=True))
    whole = str(tokenizer.decode([*prompt, *ids], skip_special_tokens=True))
    if whole.startswith(head):
        return whole[len(head) :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def joined(prompt_text: str, continuation: str) -> str:
    """Return a continuation with the leading space, if any, that joins it to a prompt of running text."""
    text = continuation.rstrip()
    if not text or not prompt_text:
        return text
    before, last = prompt_text[-2:-1], prompt_text[-1]
    opening_quote = last in "\"'" and (not before or before.isspace())
    if last.isspace() or last in NO_SPACE_AFTER or opening_quote:
        return text.lstrip(" ")
    if text[0].isspace() or text[0] in NO_SPACE_BEFORE:
        return text
    return f" {text}"


def continuation_ids(
    tokenizer: PreTrainedTokenizerBase, prompt_text: str, prompt: Sequence[int], continuation: str
) -> tuple[int, ...]:
    """Return the tokens of a continuation of running text, so that prompt and continuation read as one text.

    Where the prompt's tokens are the beginning of the whole's tokens, the rest is taken; else (a word was
    split at the seam) the continuation is tokenised alone.
    """
    whole = tuple(tokenizer(prompt_text + continuation, split_special_tokens=True)["input_ids"])
    if whole[: len(prompt)] == tuple(prompt):
        return _without_end(tokenizer, whole[len(prompt) :])
    return answer_ids(tokenizer, continuation)


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> tuple[int, ...]:
    """Return the tokens of an answer to a chat prompt: no special token, even where its words spell one."""
    return tuple(tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _without_end(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ids without an EOS that some tokenizers put behind every text."""
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
