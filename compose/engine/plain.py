"""The plain path: the prefix is put in front of each row's embeddings, as stock PEFT does with an unpadded row.

It is what the shared path is compared with, and what runs where sharing is not exact.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel


def plain_logits(
    model: PreTrainedModel, prefix: Float[Tensor, "tokens dim"] | None, ids: tuple[int, ...]
) -> Float[Tensor, "text vocab"]:
    """Return the logits at every text position of one row behind its prefix."""
    embedding = model.get_input_embeddings()
    text = embedding(torch.tensor(ids, device=embedding.weight.device))
    embeds = text if prefix is None else torch.cat([prefix.to(text), text])
    logits: Tensor = model(inputs_embeds=embeds[None], use_cache=False).logits[0]
    return logits[-len(ids) :]
