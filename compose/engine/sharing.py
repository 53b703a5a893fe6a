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
    config = model.config.get_text_config()
    embedding = model.get_input_embeddings()
    ids = torch.arange(7, 7 + 12, device=embedding.weight.device) % config.vocab_size
    embeds = embedding(ids)
    prefixes = (embeds[:5], embeds[5:8])
    lengths = torch.tensor([5, 3], device=ids.device)
    rows = [tuple(ids[:4].tolist()), tuple(ids[2:9].tolist())]
    # Reduced precision rounds the two orders of summation differently; a wrong path is off by far more.
    tolerance = 1e-4 if model.dtype == torch.float32 else 0.1
    try:
        # Judged in the base's own precision: under a trainer's autocast both paths round, each in its own way.
        with torch.autocast(ids.device.type, enabled=False):
            shared = shared_logits(model, fill(model, prefixes, lengths), rows, patches=[0, 1])
            plain_rows = [plain_logits(model, prefix, row) for prefix, row in zip(prefixes, rows, strict=True)]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        return f"sharing raised {type(error).__name__}: {str(error)[:120]}"
    for plain, logits in zip(plain_rows, shared, strict=True):
        if (plain - logits).abs().max() > tolerance * plain.abs().max():
            return "shared and plain logits differ"
    return None
