"""Drawing the next token: greedy or nucleus, with noise that belongs to the row and not to the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from compose.engine.rows import Sampling

N_TRIES = 4  # draws by rejection before a row's vocabulary is sorted


def row_noise(seeds: Sequence[int], n_steps: int) -> Float[Tensor, "rows steps tries"]:
    """Return the uniform numbers in [0, 1) that each row may use at each step.

    A row's numbers depend on its own seed only: a generation does not change with its neighbours in the batch, and
    two patches given the same seeds see common random numbers, so their difference is a paired one.
    """
    shape = (n_steps, N_TRIES + 1)
    draws = [np.random.Generator(np.random.Philox(key=seed)).random(shape) for seed in seeds]
    return torch.from_numpy(np.stack(draws)) if draws else torch.zeros(0, *shape, dtype=torch.float64)


def next_tokens(
    logits: Float[Tensor, "rows vocab"], noise: Float[Tensor, "rows tries"], sampling: Sampling
) -> Int[Tensor, " rows"]:
    """Return the next token of each row: the likeliest at temperature 0, else one of the nucleus.

    The nucleus is the smallest set of likeliest tokens whose probabilities add up to `top_p` (Holtzman et al. 2019).
    A draw from the whole distribution that falls into the nucleus is a draw from the nucleus, and it does when the
    tokens likelier than it weigh less than `top_p`: that takes no sort, which over a large vocabulary would cost
    more than the model. A row whose tries all fall outside is sorted.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    chosen = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    open_rows = torch.arange(len(logits), device=logits.device)
    candidates, mass = probabilities, probabilities.cumsum(-1)  # of the open rows: all of them, at first
    for attempt in range(N_TRIES):
        token = _inverse(mass, noise[open_rows, attempt])
        outside = _mass_above(candidates, token) >= sampling.top_p
        chosen[open_rows] = token
        open_rows = open_rows[outside]
        if not len(open_rows):
            return chosen
        candidates, mass = candidates[outside], mass[outside]
    chosen[open_rows] = _from_sorted(candidates, noise[open_rows, N_TRIES], sampling.top_p)
    return chosen


def _inverse(mass: Float[Tensor, "rows vocab"], noise: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Return the token at which the cumulated probability passes the noise."""
    target = noise.to(mass) * mass[:, -1]
    index = torch.searchsorted(mass, target[:, None], right=True).squeeze(-1)
    return index.clamp(max=mass.shape[-1] - 1)


def _mass_above(probabilities: Float[Tensor, "rows vocab"], token: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Return the total probability of the tokens that are likelier than `token`."""
    own = probabilities.gather(-1, token[:, None])
    return probabilities.masked_fill(probabilities <= own, 0).sum(-1)


def _from_sorted(
    probabilities: Float[Tensor, "rows vocab"], noise: Float[Tensor, " rows"], top_p: float
) -> Int[Tensor, " rows"]:
    """Draw from the nucleus by sorting the vocabulary."""
    likeliest, tokens = probabilities.sort(dim=-1, descending=True)
    mass = likeliest.cumsum(-1)
    kept = (mass - likeliest) < top_p
    index = _inverse((likeliest * kept).cumsum(-1), noise)
    return tokens.gather(-1, torch.minimum(index, kept.sum(-1) - 1)[:, None]).squeeze(-1)
