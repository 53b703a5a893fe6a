"""Attention over a prefix that is stored once and the keys of each row, exact for any mix of patches in a batch.

A causal model's keys and values of a prefix do not depend on what follows it, so they are computed once and every
row attends to the same tensors. Scores over the prefix and over the row's own keys are joined before the softmax:
this is ordinary attention over their concatenation, without ever copying the prefix to the rows.

Notation: B rows, H query heads, N key-value heads, G = H / N, S query positions, R = G * S, K own key positions,
T prefix positions, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "compose_shared_prefix"


class Group(NamedTuple):
    """Rows `start` to `stop` of a batch, all behind the patch of index `patch`."""

    patch: int
    start: int
    stop: int


@dataclass(frozen=True)
class SharedKeys:
    """Keys and values of the prefixes in use, and which rows use which.

    Args:
        width: T, the length to which the prefixes are padded.
        keys: For each layer, one tensor a patch: transposed, as the product with queries reads them.
        values: For each layer, one tensor a patch.
        groups: The rows of each patch; together they cover the batch in order.
    """

    width: int
    keys: Sequence[Sequence[Float[Tensor, "N D T"]]]
    values: Sequence[Sequence[Float[Tensor, "N T D"]]]
    groups: Sequence[Group]


_ACTIVE: ContextVar[SharedKeys | None] = ContextVar("compose_shared_keys", default=None)


def groups_of(patches: Sequence[int]) -> list[Group]:
    """Return the runs of equal patch index; rows of one patch must stand together for speed, not for truth."""
    groups: list[Group] = []
    for row, patch in enumerate(patches):
        if groups and groups[-1].patch == patch:
            groups[-1] = groups[-1]._replace(stop=row + 1)
        else:
            groups.append(Group(patch, row, row + 1))
    return groups


@contextmanager
def shared_attention(model: PreTrainedModel, shared: SharedKeys) -> Iterator[None]:
    """Make `model` attend to `shared` in front of its own keys until the block ends."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    token = _ACTIVE.set(shared)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _ACTIVE.reset(token)


def _per_patch(
    left: Float[Tensor, "N BR I"], right: Sequence[Float[Tensor, "N I O"]], groups: Sequence[Group], per_row: int
) -> Float[Tensor, "N BR O"]:
    """Return `left @ right[patch of the row]`: one product per patch and head, whatever the number of rows.

    With the heads first, the rows behind one patch lie together: nothing is copied on the way in or out.
    """
    if len(groups) == 1:
        return torch.bmm(left, right[groups[0].patch])
    return torch.cat(
        [torch.bmm(left[:, start * per_row : stop * per_row], right[patch]) for patch, start, stop in groups], dim=1
    )


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "B H S D"],
    key: Float[Tensor, "B N K D"],
    value: Float[Tensor, "B N K D"],
    attention_mask: Float[Tensor, "B 1 S TK"],
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B S H D"], None]:
    """Return attention outputs over [prefix; own keys]; the additive mask has the prefix's T columns first."""
    shared = _ACTIVE.get()
    if shared is None:
        raise RuntimeError("shared_prefix_attention was called outside shared_attention()")
    layer: int = module.layer_idx  # type: ignore[assignment]
    n_rows, n_heads, n_queries, dim = query.shape
    n_kv = key.shape[1]
    per_kv = n_heads // n_kv
    # Query heads that share one key-value head are laid out as more queries: no key is ever repeated.
    per_row = per_kv * n_queries
    queries = query.reshape(n_rows, n_kv, per_row, dim).transpose(0, 1) * (scaling or dim**-0.5)
    queries = queries.reshape(n_kv, n_rows * per_row, dim)
    own_keys = key.transpose(0, 1).reshape(n_kv * n_rows, -1, dim)
    own_values = value.transpose(0, 1).reshape(n_kv * n_rows, -1, dim)
    scores = torch.bmm(queries.reshape(n_kv * n_rows, per_row, dim), own_keys.transpose(1, 2))
    if shared.width:
        front = _per_patch(queries, shared.keys[layer], shared.groups, per_row)
        scores = torch.cat([front, scores.view(n_kv, n_rows * per_row, -1)], dim=-1)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    masked = scores.view(n_kv, n_rows, per_kv, n_queries, -1) + attention_mask.transpose(0, 1)[:, :, None]
    weights = torch.softmax(masked, dim=-1, dtype=torch.float32).to(query.dtype)
    if shared.width:
        front, own = weights.reshape(n_kv, n_rows * per_row, -1).tensor_split((shared.width,), dim=-1)
        behind = _per_patch(front, shared.values[layer], shared.groups, per_row)
        output = torch.baddbmm(
            behind.view(n_kv * n_rows, per_row, dim), own.reshape(n_kv * n_rows, per_row, -1), own_values
        )
    else:
        output = torch.bmm(weights.reshape(n_kv * n_rows, per_row, -1), own_values)
    heads_last = output.view(n_kv, n_rows, per_kv, n_queries, dim).permute(1, 3, 0, 2, 4)
    return heads_last.reshape(n_rows, n_queries, n_heads, dim), None


ALL_ATTENTION_FUNCTIONS.register(NAME, shared_prefix_attention)
