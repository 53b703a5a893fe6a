"""A part of a suite for tests: prompts of no consequence, and a judge that judges nothing."""

from __future__ import annotations

from typing import Literal

from compose.engine import Sampling
from compose.evaluate.prompts import make_prompt
from compose.evaluate.risks import Risk, RiskSpec
from compose.evaluate.sources import BuiltinPrompts


class Judge:
    """Judges nothing: its scores are written into the records."""

    name = "profanity"
    version = "1"


def part(
    kind: Literal["toxicity", "gender_bias"] = "toxicity", *, n: int = 3, by_group: bool = False, samples: int = 2
) -> Risk:
    """Return a part of `n` prompts, two of each group."""
    spec = RiskSpec(
        name="part",
        kind=kind,
        judge="profanity",
        prompts=(BuiltinPrompts(name="professions"),),
        n_train=0,
        n_test=n,
        samples=samples,
        sampling=Sampling(max_new_tokens=8, temperature=0.5, top_p=0.9),
        by_group=by_group,
        screen=None,
    )
    prompts = tuple(make_prompt(f"prompt {number}", group=f"job {number // 2}") for number in range(n))
    return Risk("part", (), prompts, Judge(), spec)  # type: ignore[arg-type]
