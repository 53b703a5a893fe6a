"""How prompts and completions lie in one batch: completions of one prompt share its positions, but not each other.

A tree lies as [prompt][branch 1][branch 2]...: every branch continues the prompt's positions and sees the prompt and
itself only, so a prompt is computed once for all its completions (chosen and rejected, or k samples). A row holds one
tree or, where rows would be padded, several that do not see each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine.prefix import PrefixCache, additive, layer_kinds
from compose.errors import Rejected

_PAD = -1  # tree and segment of padding; segment 0 is the prompt, 1.. are the branches


class Tree(NamedTuple):
    """A prompt with its completions, all behind the patch of that index."""

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...] = ()
    patch: int = 0

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return len(self.prompt) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Layout:
    """A batch of trees as tensors, padded on the right.

    Args:
        input_ids: [rows, S].
        positions: Distance of each token from the end of the prefix, [rows, S].
        trees: Number of each token's tree, -1 for padding, [rows, S].
        segments: -1 for padding, 0 for a prompt, i for branch i of its tree, [rows, S].
        patches: Index of each row's patch.
        source: Flat index (row * S + column) of the position that predicts each scored token, [scored].
        targets: The scored tokens: all branch tokens, tree by tree, branch by branch, [scored].
        lengths: Number of tokens of each branch in the same order.
    """

    input_ids: Int[Tensor, "rows S"]
    positions: Int[Tensor, "rows S"]
    trees: Int[Tensor, "rows S"]
    segments: Int[Tensor, "rows S"]
    patches: tuple[int, ...]
    source: Int[Tensor, " scored"]
    targets: Int[Tensor, " scored"]
    lengths: tuple[int, ...]


def refuse_empty(prompts: Iterable[tuple[int, ...]]) -> None:
    """Refuse a prompt without a token.

    The token behind it would be predicted by the prefix, of which the shared path keeps only keys and values.

    Raises:
        Rejected: `prompt-empty`.
    """
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise Rejected(
                "prompt-empty",
                subject=f"row {number} of a batch",
                expected="a prompt of at least one token",
                got="no token",
                fix="start the text with the tokenizer's BOS token, or score from its second token on",
            )


def lay_out(trees: Sequence[Tree], device: torch.device | str, *, packed: bool = False) -> Layout:
    """Return the batch of these trees: one a row in their order or, `packed`, several a row with little padding.

    Raises:
        Rejected: `prompt-empty`.
    """
    refuse_empty(tree.prompt for tree in trees)
    rows = _packed(trees) if packed else [[number] for number in range(len(trees))]
    width = max(sum(trees[number].size for number in numbers) for numbers in rows)
    columns = torch.full((4, len(rows), width), _PAD)
    columns[:2] = 0
    starts: dict[int, int] = {}
    for row, numbers in enumerate(rows):
        column = 0
        for number in numbers:
            starts[number] = row * width + column
            columns[:, row, column : column + trees[number].size] = torch.tensor(_columns(trees[number], number))
            column += trees[number].size
    source = [place for number, tree in enumerate(trees) for place in _sources(tree, starts[number])]
    input_ids, positions, numbers_of, segments = columns.to(device).unbind()
    return Layout(
        input_ids,
        positions,
        numbers_of,
        segments,
        tuple(trees[numbers[0]].patch for numbers in rows),
        torch.tensor(source, dtype=torch.long, device=device),
        torch.tensor([token for t in trees for b in t.branches for token in b], dtype=torch.long, device=device),
        tuple(len(b) for t in trees for b in t.branches),
    )


def _columns(tree: Tree, number: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return a tree's ids, positions, tree numbers and segments, one of each a token."""
    start = len(tree.prompt)
    ids, positions, segments = list(tree.prompt), list(range(start)), [0] * start
    for segment, branch in enumerate(tree.branches, 1):
        ids += branch
        positions += range(start, start + len(branch))
        segments += [segment] * len(branch)
    return ids, positions, [number] * len(ids), segments


def _sources(tree: Tree, start: int) -> list[int]:
    """Return the flat index of the position that predicts each branch token of a tree that lies at `start`."""
    sources: list[int] = []
    first = start + len(tree.prompt)
    for branch in tree.branches:
        if branch:
            sources += [start + len(tree.prompt) - 1, *range(first, first + len(branch) - 1)]
        first += len(branch)
    return sources


def _packed(trees: Sequence[Tree]) -> list[list[int]]:
    """Return rows of tree numbers that hold the trees in the fewest tokens, padding included.

    A few widths are tried: in rows as wide as the largest tree the others leave gaps, and in very wide ones every
    token would be compared with many that it may not see.
    """
    largest = max(tree.size for tree in trees)
    tried = [_first_fit(trees, largest * times) for times in (1, 2, 3)]
    return min(tried, key=lambda rows: len(rows) * max(sum(trees[n].size for n in row) for row in rows))


def _first_fit(trees: Sequence[Tree], width: int) -> list[list[int]]:
    """Return rows of tree numbers, the largest tree first, each in the first row of its patch with room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(trees)), key=lambda n: (trees[n].patch, -trees[n].size, n)):
        tree = trees[number]
        fits = (r for r in range(len(rows)) if room[r] >= tree.size and trees[rows[r][0]].patch == tree.patch)
        row = next(fits, None)
        if row is None:
            rows.append([number])
            room.append(width - tree.size)
        else:
            rows[row].append(number)
            room[row] -= tree.size
    return rows


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
    own &= layout.trees[:, :, None] == layout.trees[:, None, :]
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
