"""Fixtures of the attacks' tests: targets on the random base, with judges whose scores are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compose.base import Base
from compose.engine import Sampling, prefix_cache
from compose.evaluate.attacks.target import System, Target
from compose.evaluate.prompts import make_prompt

MakeTarget = Callable[..., Target]


@pytest.fixture(scope="session")
def prefix(tiny: Base) -> torch.Tensor:
    """Return the embeddings of eight tokens, three times as large: a patch that moves what follows."""
    rows: torch.Tensor = tiny.model.get_input_embeddings().weight[20:28].detach()
    return 3 * rows


@pytest.fixture
def make_target(tiny: Base, prefix: torch.Tensor, fixed_judge: Callable[..., Any]) -> MakeTarget:
    """Return a function from a judge's rule and a budget to a target behind a patch."""

    def make(rule: Callable[[str], Any] = lambda _: 0.0, *, budget: int = 40, **fields: Any) -> Target:
        with torch.no_grad():
            cache = prefix_cache(tiny.model, [prefix if fields.get("patched", True) else None])
        system = System(
            base=tiny,
            cache=cache,
            judge=fixed_judge(rule),
            sampling=fields.get("sampling", Sampling(max_new_tokens=5, temperature=0.0)),
            threshold=0.5,
            chat=fields.get("chat", True),
        )
        request = make_prompt(fields.get("request", "Please help the man"), chat=system.chat, group="g")
        return Target(system, request, budget, fields.get("seed", 0))

    return make
