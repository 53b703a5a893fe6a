"""Where fresh patches start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from compose import artifact
from compose.artifact import prefix_digest
from compose.base import Base
from compose.laboratory.realise import Start
from compose.laboratory.spec import InitSettings
from compose.records import InitInfo
from compose.strategies import TrainStage
from compose.training.init import Init, make_prefix


def fresh_starts(base: Base, inits: Mapping[str, InitSettings], seed: int) -> Start:
    """Return what makes the start of a stage: its risk's own, or those of its risks one after the other.

    So a joint patch starts where the concatenation of its specialists would have started.

    Args:
        base: The frozen base.
        inits: Where each risk's patch starts.
        seed: Of sampled and random starts; all specialists of a seed share it.
    """

    def start(stage: TrainStage) -> tuple[torch.Tensor, InitInfo]:
        shares = _shares(stage.tokens, len(stage.risks))
        parts = [_one(base, inits[risk], tokens, seed) for risk, tokens in zip(stage.risks, shares, strict=True)]
        return parts[0] if len(parts) == 1 else _joined(parts)

    return start


def start_claim(init: InitSettings) -> dict[str, Any]:
    """Return what a fresh start depends on beside its seed, as JSON values: of a patch its rows, not its folder.

    Raises:
        Rejected: When the patch to start from is not there, or is damaged.
    """
    claim = asdict(init)
    if init.patch is not None:
        claim["patch"] = artifact.load(init.patch).card.prefix
    return claim


def _one(base: Base, init: InitSettings, tokens: int, seed: int) -> Init:
    """Return one risk's start."""
    patch = None if init.patch is None else artifact.load(init.patch)
    return make_prefix(init.kind, tokens, base, text=init.text, seed=seed, patch=patch)


def _shares(tokens: int, parts: int) -> list[int]:
    """Return `tokens` in equal parts, the first ones having the odd ones."""
    return [tokens // parts + (place < tokens % parts) for place in range(parts)]


def _joined(parts: list[Init]) -> Init:
    """Return several starts as one; those of different kinds together are a matrix of its own kind."""
    prefix = torch.cat([part.prefix for part in parts])
    kinds = {part.info.kind for part in parts}
    kind = kinds.pop() if len(kinds) == 1 else "patch"
    text = " | ".join(part.info.text or "" for part in parts) if kind == "text" else None
    return Init(prefix, InitInfo(kind=kind, text=text, digest=prefix_digest(prefix)))
