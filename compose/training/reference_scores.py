"""Scores of pairs under DPO's reference, kept by content: what one stage has scored, no other scores again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from compose import durable
from compose.artifact import prefix_digest
from compose.base import Base
from compose.digest import of_json
from compose.engine.layout import Tree
from compose.engine.score import tree_logits
from compose.engine.sharing import prefix_cache
from compose.training.pairs import Pair

Prefix = Float[Tensor, "tokens dim"]
Scores = tuple[float, float]
"""Summed log-probabilities of a pair's chosen and rejected completion."""


def reference_scores(
    base: Base, reference: Prefix | None, pairs: Sequence[Pair], folder: Path, batch_size: int = 8
) -> list[Scores]:
    """Return each pair's scores behind `reference`, those that the folder has not yet computed and kept there.

    Args:
        base: The frozen base.
        reference: The reference's prefix; None for the unpatched base.
        pairs: Pairs with both completions.
        folder: Where scores are kept, a file for each reference; several stages may share it.
        batch_size: Pairs in one pass.
    """
    path = folder / f"{_reference_key(base, reference)}.json"
    keys = [of_json([list(p.prompt_ids), list(p.chosen_ids), list(p.rejected_ids)]) for p in pairs]
    known = _read(path)
    missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
    if missing:
        fresh = dict(zip(missing, reference_logprobs(base, reference, list(missing.values()), batch_size), strict=True))
        with durable.locked(path):
            known = _read(path) | fresh
            durable.write_json(path, {key: list(scores) for key, scores in known.items()})
    return [known[key] for key in keys]


@torch.no_grad()
def reference_logprobs(
    base: Base, reference: Prefix | None, pairs: Sequence[Pair], batch_size: int = 8
) -> list[Scores]:
    """Return the summed log-probability of each pair's chosen and rejected completion behind `reference`."""
    cache = prefix_cache(base.model, [reference])
    scores: list[Scores] = []
    for start in range(0, len(pairs), batch_size):
        trees = [Tree(p.prompt_ids, (p.chosen_ids, p.rejected_ids)) for p in pairs[start : start + batch_size]]
        logits, layout = tree_logits(base.model, cache, trees)
        logprobs = logits.float().log_softmax(-1).gather(-1, layout.targets[:, None]).squeeze(-1)
        totals = [float(piece.sum()) for piece in logprobs.split(list(layout.lengths))]
        scores += zip(totals[::2], totals[1::2], strict=True)
    return scores


def _reference_key(base: Base, reference: Prefix | None) -> str:
    """Return the name of a reference's file: everything but the pair that a score depends on."""
    behind = None if reference is None else prefix_digest(reference)
    return of_json([base.fingerprint, str(base.model.dtype), behind]).removeprefix("sha256:")


def _read(path: Path) -> dict[str, Scores]:
    """Return the kept scores; none when there are none, or when they are damaged and must be computed again."""
    try:
        return {
            key: (float(chosen), float(rejected)) for key, (chosen, rejected) in json.loads(path.read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
