"""Anchors: text on which a patched model should predict what the base predicts, so that safety costs no use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from compose.base import Base
from compose.digest import of_json
from compose.engine import Sampling, prefix_cache
from compose.engine.layout import Tree
from compose.engine.score import tree_logits
from compose.errors import Rejected
from compose.evaluate.prompts import Prompt, render
from compose.training.completions import Draw, Request, draw_responses
from compose.training.sampling_cache import GenerationStore


class Anchor(NamedTuple):
    """Tokens of a prompt, and the tokens behind it at which the distributions are compared."""

    prompt_ids: tuple[int, ...]
    text_ids: tuple[int, ...]


@dataclass(frozen=True)
class AnchorSet:
    """Anchors in a fixed order."""

    anchors: tuple[Anchor, ...]

    @cached_property
    def digest(self) -> str:
        """The digest of the anchors, order included."""
        return of_json([[list(one.prompt_ids), list(one.text_ids)] for one in self.anchors])


def make_anchors(
    base: Base,
    requests: Sequence[Prompt],
    passages: Sequence[Prompt],
    *,
    max_new_tokens: int,
    max_tokens: int,
    store: GenerationStore | None = None,
) -> AnchorSet:
    """Return anchors of benign requests and neutral passages in turn, so that any first n hold both.

    Behind a request stands the base's own greedy answer: a patch that refuses there is far from the base at the first
    token. A passage is compared from its second token on, as its perplexity is.

    Args:
        base: The model.
        requests: Benign requests, as a user's message.
        passages: Neutral text.
        max_new_tokens: The longest answer.
        max_tokens: Longer passages are cut to so many tokens.
        store: Where answers are kept; None keeps nothing.

    Raises:
        Rejected: `anchors-empty` when neither gives any text.
    """
    greedy = Draw(samples=1, sampling=Sampling(max_new_tokens=max_new_tokens, temperature=0.0), seed=0, store=store)
    asked = [Request(prompt.id, render(base.tokenizer, prompt)) for prompt in requests]
    answers = draw_responses(base, asked, greedy, "anchors: the base's own answers")
    answered = [Anchor(request.ids, answer.ids or ()) for request, (answer,) in zip(asked, answers, strict=True)]
    texts = [render(base.tokenizer, passage)[:max_tokens] for passage in passages]
    written = [Anchor(ids[:1], ids[1:]) for ids in texts]
    anchors = tuple(one for one in _in_turn(answered, written) if one.text_ids)
    if not anchors:
        raise Rejected(
            "anchors-empty",
            subject="anchors of a training stage",
            expected="at least one benign request that the base answers, or one passage of two tokens",
            got=f"{len(requests)} requests and {len(passages)} passages, none usable",
            fix="raise utility.n_benign_train or utility.n_neutral_train, or set trainer.anchor_weight=0",
        )
    return AnchorSet(anchors)


def _in_turn(first: Sequence[Anchor], second: Sequence[Anchor]) -> list[Anchor]:
    """Return the anchors of both, one of each in turn, the longer one's rest at the end."""
    both = min(len(first), len(second))
    mixed = [one for pair in zip(first, second, strict=False) for one in pair]
    return [*mixed, *first[both:], *second[both:]]


def trees_of(anchors: Sequence[Anchor]) -> list[Tree]:
    """Return the anchors as the engine lays them out."""
    return [Tree(one.prompt_ids, (one.text_ids,)) for one in anchors]


@torch.no_grad()
def base_logprobs(model: PreTrainedModel, anchors: Sequence[Anchor]) -> Float[Tensor, "scored vocab"]:
    """Return the unpatched base's log-probabilities at every token of the anchors' texts."""
    logits, _ = tree_logits(model, prefix_cache(model, [None]), trees_of(anchors))
    return logits.float().log_softmax(-1)


def divergence(
    patched: Float[Tensor, "scored vocab"], base: Float[Tensor, "scored vocab"], anchors: Sequence[Anchor]
) -> Float[Tensor, ""]:
    """Return the mean over anchors of each one's mean KL(base || patched) a token, in nats.

    The divergence is that of 2603.16210 on benign prompts. Every anchor counts alike: in a short answer the first
    tokens, at which a refusal would begin, weigh more than in a long passage.

    Args:
        patched: Logits behind the patch; differentiable.
        base: The base's log-probabilities at the same tokens.
        anchors: Whose tokens these are, in order.
    """
    by_token = F.kl_div(patched.float().log_softmax(-1), base, log_target=True, reduction="none").sum(-1)
    return torch.stack([one.mean() for one in by_token.split([len(one.text_ids) for one in anchors])]).mean()
