"""What a search over a prompt's tokens asks: where to change one, and how likely a completion is behind each change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from compose.engine.context import refuse_too_long
from compose.engine.layout import Tree, lay_out
from compose.engine.prefix import PrefixCache
from compose.engine.rows import ScoreRow
from compose.engine.score import layout_logits, tree_logits

BRANCHES_TOGETHER = 16
"""Variants behind one copy of what they share: more would compare ever more tokens that do not see each other."""
TREES_TOGETHER = 4


def token_gradient(
    model: PreTrainedModel, cache: PrefixCache, row: ScoreRow, slots: range
) -> tuple[float, Float[Tensor, "slots vocab"]]:
    """Return a completion's loss and its gradient in the one-hot tokens of some places of the prompt.

    The loss is the mean negative log-likelihood of the completion's tokens in nats, behind the row's patch. Entry
    [i, v] of the gradient says how the loss would change, to first order, with more of token v at place `slots[i]`
    (Zou et al. 2023, 2307.15043, section 2.2). It goes through the attention to the patch as it is, exactly.

    Args:
        model: The frozen base.
        cache: The prefixes.
        row: Prompt and completion, and the index of the patch.
        slots: Places in the prompt, from 0.

    Raises:
        Rejected: `prompt-empty` or `prompt-too-long`.
    """
    embedding = model.get_input_embeddings()
    with torch.enable_grad(), _watched(embedding) as seen:
        logits, layout = tree_logits(model, cache, [Tree(row.prompt, (row.completion,), row.patch)])
        loss = F.cross_entropy(logits.float(), layout.targets)
        (gradient,) = torch.autograd.grad(loss, seen)
    with torch.no_grad():
        # Through the module, not its weight: some bases scale what they look up.
        table = embedding(torch.arange(embedding.weight.shape[0], device=embedding.weight.device))
        at = gradient.reshape(-1, gradient.shape[-1])[slots.start : slots.stop : slots.step]
        return float(loss), at.float() @ table.float().T


@contextmanager
def _watched(embedding: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Make what is looked up a leaf of the graph, and yield the list that will hold it."""
    seen: list[Tensor] = []

    def watch(_: torch.nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    handle = embedding.register_forward_hook(watch)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def variant_logprobs(
    model: PreTrainedModel,
    cache: PrefixCache,
    head: tuple[int, ...],
    variants: Sequence[tuple[int, ...]],
    completion: tuple[int, ...],
    patch: int = 0,
) -> Float[Tensor, " variants"]:
    """Return the summed log-probability of one completion behind each of many prompts that begin alike.

    What the prompts share is computed once for `BRANCHES_TOGETHER` of them.

    Args:
        model: The frozen base.
        cache: The prefixes.
        head: How every prompt begins; at least one token.
        variants: How each goes on.
        completion: What is scored, at least one token.
        patch: Index of the patch.

    Raises:
        Rejected: `prompt-empty` or `prompt-too-long`.
    """
    sums: list[Tensor] = []
    for start in range(0, len(variants), BRANCHES_TOGETHER * TREES_TOGETHER):
        piece = variants[start : start + BRANCHES_TOGETHER * TREES_TOGETHER]
        trees = [
            Tree(head, tuple(variant + completion for variant in piece[n : n + BRANCHES_TOGETHER]), patch)
            for n in range(0, len(piece), BRANCHES_TOGETHER)
        ]
        logits = _completion_logits(model, cache, trees, len(completion))
        targets = torch.tensor(completion, device=logits.device).repeat(len(piece))
        logprobs = -F.cross_entropy(logits.float(), targets, reduction="none")
        sums.append(logprobs.reshape(len(piece), len(completion)).sum(-1).cpu())
    return torch.cat(sums) if sums else torch.empty(0)


def _completion_logits(
    model: PreTrainedModel, cache: PrefixCache, trees: Sequence[Tree], length: int
) -> Float[Tensor, "scored vocab"]:
    """Return the logits that predict the last `length` tokens of every branch; the head sees no other where it can."""
    wanted: list[int] = []
    end = 0
    for branch in (branch for tree in trees for branch in tree.branches):
        end += len(branch)
        wanted += range(end - length, end)
    if cache.plain_reason is not None:
        return tree_logits(model, cache, trees)[0][wanted]
    refuse_too_long(model, cache, [(tree.patch, len(tree.prompt) + max(map(len, tree.branches))) for tree in trees])
    layout = lay_out(trees, cache.lengths.device)
    return layout_logits(model, cache, layout, layout.source[wanted])
