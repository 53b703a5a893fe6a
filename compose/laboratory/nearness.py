"""How far a prefix lies from the tokens that its base knows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from compose.base import Base
from compose.training.init import ordinary_embeddings


@torch.no_grad()
def token_distance(base: Base, prefix: Float[Tensor, "tokens dim"]) -> float:
    """Return the mean, over a prefix's rows, of the Euclidean distance to the nearest embedding of a token.

    It is 0 for a prefix of tokens. Rows that training has moved lie off them, and a sum of such rows further still: a
    base was never shown what lies there.
    """
    rows = prefix.detach().to("cpu", torch.float64)
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    for chunk in ordinary_embeddings(base):
        nearest = torch.minimum(nearest, torch.cdist(rows, chunk).min(1).values)
    return float(nearest.mean())
