"""Whether a base lets its prefixes be shared exactly, and the one way to make a prefix cache."""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine.plain import plain_logits
from compose.engine.prefix import PrefixCache, fill, layer_kinds
from compose.engine.score import shared_logits

_SHAREABLE_LAYERS = {"full_attention", "sliding_attention"}
_PROBE_TOKENS = (20, 12)
"""Rows of the prefixes that sharing is tried with: enough to move logits by far more than bfloat16 rounds."""
_TOLERANCE = 1e-4
"""Of the largest logit, in float32."""
_TOLERATED_SHARE_OF_EFFECT = 0.25
"""In reduced precision. Measured in bfloat16: SmolLM2 .06; with a prefix row less 1.1 and .7."""
_WHY_NOT_SHARED: weakref.WeakKeyDictionary[PreTrainedModel, str | None] = weakref.WeakKeyDictionary()


def prefix_cache(model: PreTrainedModel, prefixes: Sequence[Float[Tensor, "tokens dim"] | None]) -> PrefixCache:
    """Return the prefixes with their keys and values, each computed once, differentiable in the embeddings.

    Where the base's architecture does not let a prefix be shared exactly, a warning says so and the cache makes the
    engine take the plain path: the prefix is run again with every row.
    """
    reason = why_not_shared(model)
    device = model.get_input_embeddings().weight.device
    moved = tuple(None if p is None else p.to(device=device, dtype=model.dtype) for p in prefixes)
    lengths = torch.tensor([0 if p is None else p.shape[0] for p in moved], device=device)
    if reason is not None:
        return PrefixCache(moved, lengths, (), (), reason)
    return fill(model, moved, lengths)


def why_not_shared(model: PreTrainedModel) -> str | None:
    """Return why this base cannot share a prefix exactly, or None; decided once a model, by trying it."""
    if model not in _WHY_NOT_SHARED:
        reason = _structural_reason(model) or _numeric_reason(model)
        if reason is not None:
            warnings.warn(
                f"{type(model).__name__}: {reason}; the plain path is used, which runs the prefix with every row",
                stacklevel=3,
            )
        _WHY_NOT_SHARED[model] = reason
    return _WHY_NOT_SHARED[model]


def _structural_reason(model: PreTrainedModel) -> str | None:
    config = model.config.get_text_config()
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    unknown = set(layer_kinds(model)) - _SHAREABLE_LAYERS
    if unknown:
        return f"it has layers of kind {', '.join(sorted(unknown))}"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention implementation is {config._attn_implementation}"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "its forward takes no position_ids"
    return None


@torch.no_grad()
def _numeric_reason(model: PreTrainedModel) -> str | None:
    """Compare shared and plain logits on a few fixed rows of unequal length behind two unequal prefixes."""
    embedding = model.get_input_embeddings()
    device = embedding.weight.device
    ids = torch.arange(7, 7 + 12, device=device) % model.config.get_text_config().vocab_size
    embeds = embedding(ids)
    scale, noise = embeds.float().std().cpu(), torch.Generator().manual_seed(0)
    prefixes = tuple((torch.randn(n, embeds.shape[1], generator=noise) * scale).to(embeds) for n in _PROBE_TOKENS)
    rows = [tuple(ids[:4].tolist()), tuple(ids[2:9].tolist())]
    try:
        # Judged in the base's own precision: under a trainer's autocast both paths round, each in its own way.
        with torch.autocast(ids.device.type, enabled=False):
            lengths = torch.tensor(_PROBE_TOKENS, device=device)
            shared = shared_logits(model, fill(model, prefixes, lengths), rows, patches=[0, 1])
            plain = [plain_logits(model, prefix, row) for prefix, row in zip(prefixes, rows, strict=True)]
            bare = [plain_logits(model, None, row) for row in rows]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        return f"sharing raised {type(error).__name__}: {str(error)[:120]}"
    differ = any(_differ(*logits) for logits in zip(shared, plain, bare, strict=True))
    return "shared and plain logits differ" if differ else None


def _differ(
    shared: Float[Tensor, "text vocab"], plain: Float[Tensor, "text vocab"], bare: Float[Tensor, "text vocab"]
) -> bool:
    """Return whether two ways of putting a prefix before a text differ by more than rounding.

    Args:
        shared: Logits of the way in question.
        plain: Logits of the plain way.
        bare: Logits without the prefix: in reduced precision either way is a few percent of its effect from the truth,
            while a row too many, or one in a wrong place, changes the logits about as much as the prefix itself.
    """
    if plain.dtype == torch.float32:
        return bool((plain - shared).abs().max() > _TOLERANCE * plain.abs().max())
    off, effect = ((other.float() - plain.float()).square().mean().sqrt() for other in (shared, bare))
    return bool(off > _TOLERATED_SHARE_OF_EFFECT * effect)
