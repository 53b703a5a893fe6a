"""Prefixes as the engine uses them: embeddings, and the keys and values that every row behind them shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from compose.engine.attention import SharedKeys, groups_of


@dataclass(frozen=True)
class PrefixCache:
    """Prefixes of one base, ready to stand in front of any row.

    Shorter prefixes are padded on the left to the longest, T; `lengths` holds their true lengths.

    Args:
        prefixes: The embeddings, one [tokens, dim] a patch; None is the unpatched base.
        lengths: True length of each prefix, int64 [patches].
        keys: For each layer, one [N, D, T] a patch; empty when the plain path is in use.
        values: For each layer, one [N, T, D] a patch.
        plain_reason: Why prefixes cannot be shared exactly on this base; None when they are shared.
    """

    prefixes: tuple[Float[Tensor, "tokens dim"] | None, ...]
    lengths: Int[Tensor, " patches"]
    keys: tuple[tuple[Float[Tensor, "N D T"], ...], ...]
    values: tuple[tuple[Float[Tensor, "N T D"], ...], ...]
    plain_reason: str | None

    @property
    def width(self) -> int:
        """The length T to which prefixes are padded."""
        return max((0 if p is None else p.shape[0]) for p in self.prefixes)

    def valid(self) -> Bool[Tensor, "patches T"]:
        """Return which of the T columns hold a token of the prefix."""
        columns = torch.arange(self.width, device=self.lengths.device)
        return columns >= self.width - self.lengths[:, None]

    def positions(self) -> Int[Tensor, "patches T"]:
        """Return the position of each prefix token; padded columns get 0."""
        columns = torch.arange(self.width, device=self.lengths.device)
        return (columns - (self.width - self.lengths[:, None])).clamp(min=0)

    def shared(self, patches: Sequence[int]) -> SharedKeys:
        """Return what attention needs for a batch whose rows use these patches."""
        return SharedKeys(self.width, self.keys, self.values, groups_of(patches))


def layer_kinds(model: PreTrainedModel) -> dict[str, int | None]:
    """Return the kinds of attention layers a base has, each with its window (None: unlimited)."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["full_attention"] if window is None else ["sliding_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


def additive(allowed: Bool[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """Return 0 where attention is allowed and the dtype's lowest number where it is not."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def fill(model: PreTrainedModel, prefixes: tuple[Tensor | None, ...], lengths: Int[Tensor, " patches"]) -> PrefixCache:
    """Run all prefixes through the base in one batch and keep their keys and values."""
    cache = PrefixCache(prefixes, lengths, (), (), None)
    width = cache.width
    config = model.config.get_text_config()
    if width == 0:
        return cache  # attention then reads no key of a prefix
    blank = torch.zeros(width, config.hidden_size, device=lengths.device, dtype=model.dtype)
    padded = torch.stack([blank if p is None else torch.cat([blank[: width - p.shape[0]], p]) for p in prefixes])
    positions, valid = cache.positions(), cache.valid()
    index = torch.arange(width, device=lengths.device)
    own = torch.eye(width, dtype=torch.bool, device=lengths.device)
    allowed = (index[:, None] >= index) & valid[:, None, :] | own
    masks = {}
    for kind, window in layer_kinds(model).items():
        near = allowed if window is None else allowed & (index[:, None] - index < window)
        masks[kind] = additive(near[:, None], model.dtype)
    # A cache without a config keeps every key: the window is applied by the masks, which know true positions.
    filled = DynamicCache()
    model.base_model(
        inputs_embeds=padded,
        position_ids=positions,
        attention_mask=as_model_mask(masks),
        past_key_values=filled,
        use_cache=True,
    )
    keys = tuple(layer.keys.transpose(2, 3).contiguous().unbind() for layer in filled.layers)
    values = tuple(layer.values.unbind() for layer in filled.layers)
    return PrefixCache(prefixes, lengths, keys, values, None)


def as_model_mask(masks: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """Return a lone mask itself, and several by layer kind, as transformers' models take them."""
    return next(iter(masks.values())) if len(masks) == 1 else masks
