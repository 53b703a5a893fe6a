"""What every reference is: a safer model or procedure of which only the answers are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from compose.base import Base
from compose.engine import Sampling
from compose.evaluate.judges import Judge
from compose.evaluate.prompts import Prompt
from compose.training.completions import Response
from compose.training.sampling_cache import GenerationStore


class Reference(Protocol):
    """A black box M' that answers prompts more safely than the base does."""

    @property
    def name(self) -> str:
        """What the reference is called in every pair that it takes part in."""

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return up to `samples` responses to each prompt, best first where the reference ranks them.

        A prompt that got no answer has an empty list, and is counted as such by whoever asked.
        """


@dataclass(frozen=True, kw_only=True)
class ReferenceContext:
    """What references may draw on, each what it needs.

    Args:
        base: The model that is to be patched.
        judge: The judge of the risk that the pairs are for.
        store: Where answers are kept between runs; None keeps nothing.
    """

    base: Base
    judge: Judge
    store: GenerationStore | None = None
