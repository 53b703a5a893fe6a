"""What the engine is asked for: settings of sampling, and the rows of one batch."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.records import SETTINGS


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Sampling:
    """How tokens are drawn: greedy at temperature 0, else nucleus sampling (Holtzman et al. 2019, 1904.09751)."""

    max_new_tokens: Annotated[int, Field(gt=0)] = 20
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9


class Row(NamedTuple):
    """One generation: prompt token ids, index of the patch in the prefix cache, and the seed of its own noise."""

    prompt: tuple[int, ...]
    patch: int = 0
    seed: int = 0


class ScoreRow(NamedTuple):
    """One completion whose log-probabilities are wanted, behind its prompt and the patch of that index."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    patch: int = 0
