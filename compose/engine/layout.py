"""How prompts and completions lie in one batch: completions of one prompt share its positions, but not each other.

A row holds [prompt][branch 1][branch 2]...: every branch continues the prompt's positions and sees the prompt and
itself only, so a prompt is computed once for all its completions (chosen and rejected, or k samples).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine.prefix import PrefixCache, additive, layer_kinds
from compose.errors import Rejected

_PAD = -1  # segment of padding; 0 is the prompt, 1.. are the branches


class Tree(NamedTuple):
    """A prompt with its completions, all behind the patch of that index."""

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...] = ()
    patch: int = 0


@dataclass(frozen=True)
class Layout:
    """A batch of trees as tensors, padded on the right.

    Args:
        input_ids: [rows, S].
        positions: Distance of each token from the end of the prefix, [rows, S].
        segments: -1 for padding, 0 for the prompt, i for branch i, [rows, S].
        patches: Index of each row's patch.
        source: Flat index (row * S + column) of the position that predicts each scored token, [scored].
        targets: The scored tokens: all branch tokens, row by row, branch by branch, [scored].
        lengths: Number of tokens of each branch in the same order.
    """

    input_ids: Int[Tensor, "rows S"]
    positions: Int[Tensor, "rows S"]
    segments: Int[Tensor, "rows S"]
    patches: tuple[int, ...]
    source: Int[Tensor, " scored"]
    targets: Int[Tensor, " scored"]
    lengths: tuple[int, ...]


def lay_out(trees: Sequence[Tree], device: torch.device | str) -> Layout:
    """Return the batch of these trees.

    Raises:
        Rejected: When a prompt is empty: its first completion token would be predicted by the prefix, of which the
            shared path keeps only keys and values.
    """
    width = max(len(t.prompt) + sum(map(len, t.branches)) for t in trees)
    ids: list[list[int]] = []
    positions: list[list[int]] = []
    segments: list[list[int]] = []
    source: list[int] = []
    targets: list[int] = []
    for row, tree in enumerate(trees):
        if not tree.prompt:
            raise Rejected(
                "prompt-empty",
                subject=f"row {row} of a batch",
                expected="a prompt of at least one token",
                got="no token",
                fix="start the text with the tokenizer's BOS token, or score from its second token on",
            )
        start = len(tree.prompt)
        row_ids, row_positions, row_segments = list(tree.prompt), list(range(start)), [0] * start
        for number, branch in enumerate(tree.branches, 1):
            first = len(row_ids)
            row_ids += branch
            row_positions += range(start, start + len(branch))
            row_segments += [number] * len(branch)
            if branch:
                source += [
                    row * width + start - 1,
                    *range(row * width + first, row * width + len(row_ids) - 1),
                ]
            targets += branch
        padding = width - len(row_ids)
        ids.append(row_ids + [0] * padding)
        positions.append(row_positions + [0] * padding)
        segments.append(row_segments + [_PAD] * padding)
    return Layout(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(segments, device=device),
        tuple(t.patch for t in trees),
        torch.tensor(source, dtype=torch.long, device=device),
        torch.tensor(targets, dtype=torch.long, device=device),
        tuple(len(b) for t in trees for b in t.branches),
    )


def text_positions(layout: Layout, cache: PrefixCache) -> Int[Tensor, "rows S"]:
    """Return absolute positions: the text starts where its row's own prefix ends."""
    offset = cache.lengths[torch.tensor(layout.patches, device=cache.lengths.device)]
    return layout.positions + offset[:, None]


def attention_masks(
    model: PreTrainedModel, layout: Layout, cache: PrefixCache
) -> dict[str, Float[Tensor, "rows 1 S TS"]]:
    """Return one additive mask per kind of attention layer, the prefix's columns first."""
    rows = torch.tensor(layout.patches, device=cache.lengths.device)
    segments, columns = layout.segments, torch.arange(layout.segments.shape[1], device=rows.device)
    query, key = segments[:, :, None], segments[:, None, :]
    own = (columns[:, None] >= columns) & (key != _PAD) & ((key == 0) | (key == query))
    own |= columns[:, None] == columns  # a padded query must see something, or its softmax is 0 / 0
    front = cache.valid()[rows][:, None, :].expand(-1, segments.shape[1], -1)
    allowed = torch.cat([front, own], dim=-1)
    at = text_positions(layout, cache)
    distance = at[:, :, None] - torch.cat([cache.positions()[rows], at], dim=-1)[:, None, :]
    masks = {}
    for kind, window in layer_kinds(model).items():
        near = allowed if window is None else allowed & (distance < window)
        masks[kind] = additive(near[:, None], model.dtype)
    return masks
