"""Log-probabilities behind a patch: only the positions that predict a wanted token pass through the output head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from compose.engine.attention import shared_attention
from compose.engine.context import refuse_too_long
from compose.engine.layout import Layout, Tree, attention_masks, lay_out, refuse_empty, text_positions
from compose.engine.plain import plain_logits
from compose.engine.prefix import PrefixCache, as_model_mask
from compose.engine.rows import Row, ScoreRow


@contextmanager
def head_at(model: PreTrainedModel, index: Int[Tensor, " scored"]) -> Iterator[None]:
    """Let the output head see the hidden states at these flat positions only.

    A hook on the head, rather than our own product with its weight, keeps whatever the model does after the head
    (soft-capped, scaled or biased logits) exactly as it is.
    """

    def pick(_: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1])[index.to(hidden.device)][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def layout_logits(
    model: PreTrainedModel, cache: PrefixCache, layout: Layout, index: Int[Tensor, " wanted"]
) -> Float[Tensor, "wanted vocab"]:
    """Return the logits at flat positions `index` of a layout, on the shared path, differentiable in the prefix."""
    masks = attention_masks(model, layout, cache)
    with shared_attention(model, cache.shared(layout.patches)), head_at(model, index):
        output = model(
            input_ids=layout.input_ids,
            position_ids=text_positions(layout, cache),
            attention_mask=as_model_mask(masks),
            use_cache=False,
        )
    logits: Tensor = output.logits[0]
    return logits


def shared_logits(
    model: PreTrainedModel, cache: PrefixCache, rows: Sequence[tuple[int, ...]], patches: Sequence[int]
) -> list[Float[Tensor, "text vocab"]]:
    """Return the logits at every position of each row, on the shared path."""
    layout = lay_out([Tree(ids, (), patch) for ids, patch in zip(rows, patches, strict=True)], cache.lengths.device)
    width = layout.input_ids.shape[1]
    index = [row * width + column for row, ids in enumerate(rows) for column in range(len(ids))]
    logits = layout_logits(model, cache, layout, torch.tensor(index, device=cache.lengths.device))
    return list(logits.split([len(ids) for ids in rows]))


def tree_logits(model: PreTrainedModel, cache: PrefixCache, trees: Sequence[Tree]) -> tuple[Tensor, Layout]:
    """Return the logits that predict every branch token, [scored, vocab], and the layout that orders them.

    Raises:
        Rejected: `prompt-empty` or `prompt-too-long`.
    """
    longest = [(tree.patch, len(tree.prompt) + max(map(len, tree.branches), default=0)) for tree in trees]
    refuse_too_long(model, cache, longest)
    layout = lay_out(trees, cache.lengths.device, packed=True)
    if cache.plain_reason is None:
        return layout_logits(model, cache, layout, layout.source), layout
    pieces = []
    for tree in trees:
        for branch in tree.branches:
            if branch:
                logits = plain_logits(model, cache.prefixes[tree.patch], tree.prompt + branch)
                pieces.append(logits[len(tree.prompt) - 1 : -1])
    return torch.cat(pieces), layout


@torch.no_grad()
def completion_logprobs(
    model: PreTrainedModel, cache: PrefixCache, rows: Sequence[ScoreRow], batch_size: int = 32
) -> list[Float[Tensor, " completion"]]:
    """Return the log-probability of each token of each row's completion, float32, in the order of `rows`.

    Raises:
        Rejected: `prompt-empty` or `prompt-too-long`.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].patch, len(rows[i].prompt) + len(rows[i].completion)))
    results: list[Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(rows), batch_size):
        chosen = order[start : start + batch_size]
        trees = [Tree(rows[i].prompt, (rows[i].completion,), rows[i].patch) for i in chosen]
        logits, layout = tree_logits(model, cache, trees)
        logprobs = -F.cross_entropy(logits.float(), layout.targets, reduction="none")
        for i, values in zip(chosen, logprobs.split(list(layout.lengths)), strict=True):
            results[i] = values.cpu()
    return results


@torch.no_grad()
def next_token_logprobs(
    model: PreTrainedModel, cache: PrefixCache, rows: Sequence[Row], batch_size: int = 64
) -> Float[Tensor, "rows vocab"]:
    """Return the log-probabilities of the token that follows each row's prompt, float32, on the CPU.

    Raises:
        Rejected: `prompt-empty` or `prompt-too-long`.
    """
    refuse_empty(row.prompt for row in rows)
    refuse_too_long(model, cache, [(row.patch, len(row.prompt)) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: (rows[i].patch, len(rows[i].prompt)))
    results: list[Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(rows), batch_size):
        chosen = order[start : start + batch_size]
        if cache.plain_reason is None:
            layout = lay_out([Tree(rows[i].prompt, (), rows[i].patch) for i in chosen], cache.lengths.device)
            width = layout.input_ids.shape[1]
            last = [n * width + len(rows[i].prompt) - 1 for n, i in enumerate(chosen)]
            logits = layout_logits(model, cache, layout, torch.tensor(last, device=cache.lengths.device))
        else:
            logits = torch.stack(
                [plain_logits(model, cache.prefixes[rows[i].patch], rows[i].prompt)[-1] for i in chosen]
            )
        for i, values in zip(chosen, logits.float().log_softmax(-1).cpu(), strict=True):
            results[i] = values
    return torch.stack(results)
