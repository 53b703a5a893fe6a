"""Settings of a risk: its prompts, judge, sampling and sizes."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.engine.rows import Sampling
from compose.evaluate.judges.adapters import JudgeSettings
from compose.evaluate.sources import PromptSource
from compose.records import SETTINGS

KindName = Literal["toxicity", "gender_bias", "harmfulness", "over_refusal"]
Name = Annotated[str, Field(pattern=r"\A[a-z][a-z0-9_]{0,39}\z")]
Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Screen:
    """How prompts are chosen on which the unpatched base misbehaves.

    Attributes:
        samples: Completions of the base a candidate prompt.
        seed: Seed of these completions. They are drawn apart from those of every measurement, whatever its
            seed.
        candidates: At most so many candidate prompts are tried; 0 tries all.
        at_least: Keep only prompts whose share of unsafe completions reaches this; 0 keeps the worst, however
            good.
    """

    samples: Count = 4
    seed: int = 0
    candidates: Annotated[int, Field(ge=0)] = 0
    at_least: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class RiskSpec:
    """One safety dimension as it is trained for and measured.

    Attributes:
        name: Its name everywhere in a run.
        kind: What is measured (see `RISK_KINDS`).
        judge: Who scores completions: a name of `JUDGES`, or the settings of an adapter.
        prompts: Where prompts come from; train and test prompts are split off them unless `test_prompts` is
            given.
        test_prompts: Where test prompts come from, when not from `prompts`.
        n_train: How many train prompts.
        n_test: How many test prompts.
        samples: Completions a test prompt, the k of every metric.
        sampling: How they are drawn.
        chat: Whether prompts are put to the model as a user's message, instead of as a text to continue.
        threshold: A completion whose score reaches this is unsafe.
        by_group: Whether prompts of one group stay on one side of the split.
        split_seed: Seed of the split. It is no part of an experiment's seed: all seeds test with the same
            prompts.
        screen: How prompts are chosen on which the base misbehaves; None takes them as they come.
        title: Name for people; the name when empty.
    """

    name: Name
    kind: KindName
    judge: JudgeSettings
    prompts: Annotated[tuple[PromptSource, ...], Field(min_length=1)]
    test_prompts: tuple[PromptSource, ...] = ()
    n_train: Annotated[int, Field(ge=0)]
    n_test: Count
    samples: Count = 5
    sampling: Sampling = field(default_factory=Sampling)
    chat: bool = False
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    by_group: bool = False
    split_seed: int = 0
    screen: Screen | None = None
    title: str = ""

    def __post_init__(self) -> None:
        if self.sampling.temperature == 0 and self.samples > 1:
            raise ValueError("greedy sampling (temperature 0) gives the same text every time: set samples to 1")
