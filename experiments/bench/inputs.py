"""The same random prompts, completions and prefixes for all: what they say makes no difference to speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from compose import artifact
from compose.artifact import new_patch
from compose.base import Base
from compose.laboratory.realise import base_reference
from compose.records import CardDraft
from experiments.bench.settings import BenchSettings


@dataclass(frozen=True)
class PairIds:
    """Token ids of one preference pair."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


def random_pairs(base: Base, settings: BenchSettings, count: int) -> list[PairIds]:
    """Return `count` pairs of ordinary tokens, all of the same length: no variant wastes time on padding."""
    width = settings.prompt + 2 * settings.completion
    rows = _tokens(base, (count, width), settings.seed)
    ends = settings.prompt, settings.prompt + settings.completion
    return [PairIds(tuple(row[: ends[0]]), tuple(row[ends[0] : ends[1]]), tuple(row[ends[1] :])) for row in rows]


def random_prompts(base: Base, settings: BenchSettings) -> list[tuple[int, ...]]:
    """Return one batch of prompts."""
    return [tuple(row) for row in _tokens(base, (settings.batch, settings.prompt), settings.seed)]


def random_prefix(base: Base, tokens: int, seed: int) -> Float[Tensor, "tokens dim"]:
    """Return a prefix of sampled vocabulary rows, on the CPU: the scale that a trained one starts from."""
    embedding = base.model.get_input_embeddings().weight.detach()
    rows = torch.tensor(_tokens(base, (1, tokens), seed)[0], device=embedding.device)
    prefix: Tensor = embedding[rows].to("cpu", torch.float32)
    return prefix


def saved_patch(base: Base, prefix: Float[Tensor, "tokens dim"], folder: Path) -> Path:
    """Return the folder of a prefix as it is shipped; it must not exist."""
    card = CardDraft(name="bench", risks=(), base=base_reference(base), strategy="specialist")
    return artifact.save(new_patch(prefix, card), folder)


def _tokens(base: Base, shape: tuple[int, int], seed: int) -> list[list[int]]:
    """Return rows of ids of ordinary tokens, those that no special token uses."""
    vocabulary = base.model.get_input_embeddings().weight.shape[0]
    special = set(base.tokenizer.all_special_ids)
    ordinary = torch.tensor([i for i in range(vocabulary) if i not in special])
    generator = torch.Generator().manual_seed(seed)
    rows: list[list[int]] = ordinary[torch.randint(len(ordinary), shape, generator=generator)].tolist()
    return rows
