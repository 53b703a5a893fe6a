"""The settings of a whole experiment, one frozen record. Every key of `conf/` ends here or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass

from compose.base_spec import BaseSpec
from compose.evaluate.risks import RiskSpec, second_judge_faults
from compose.evaluate.utility import UtilitySpec
from compose.records import SETTINGS
from compose.strategies import Orders, StrategySpec, Task
from compose.strategies.continual import Continual
from compose.track import TrackSettings
from compose.training.build import PairSettings
from compose.training.lora import LoraSettings
from compose.training.references import Instructed, ReferenceSettings
from compose.training.settings import TrainSettings

Name = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9_]{0,39}\z")]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class InitSettings:
    """Where a fresh patch starts.

    Args:
        kind: `text` tiles the embeddings of `text`; `vocab` samples the vocabulary's; `random` is Gaussian
            noise of the vocabulary's spread. With these two, all specialists of a seed start from one matrix.
            `patch` copies the rows of a finished patch of the same size.
        text: A short instruction, for kind `text`.
        patch: Folder of the patch, for kind `patch`.
    """

    kind: Literal["text", "vocab", "random", "patch"] = "vocab"
    text: str | None = None
    patch: str | None = None

    @model_validator(mode="after")
    def _what_the_kind_needs(self) -> Self:
        """Refuse a start from something that is not there."""
        for kind, value in (("text", self.text), ("patch", self.patch)):
            if (self.kind == kind) != bool(value and value.strip()):
                raise ValueError(f"kind {kind} needs a {kind}, and the other kinds take none")
        return self


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LessonSettings:
    """How one risk is taught.

    Args:
        reference: The safer model or procedure whose answers are preferred.
        pairs: How preference pairs are made of its answers and the base's.
        init: Where a fresh patch for this risk starts.
        effort: How many times the trainer's steps a stage takes for this risk: some are learned faster than others.
    """

    reference: ReferenceSettings
    pairs: PairSettings
    init: InitSettings
    effort: Annotated[float, Field(gt=0, le=100)] = 1.0


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class AnchorSettings:
    """Texts on which a patch is kept near its base; `trainer.anchor_weight` says how firmly, `utility` which texts.

    Args:
        max_new_tokens: The longest answer of the base to a benign request.
        max_tokens: Longer neutral passages are cut to so many tokens.
    """

    max_new_tokens: Positive = 8
    max_tokens: Annotated[int, Field(gt=1)] = 32


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class EvaluationSettings:
    """How compositions are measured, beside what each risk says.

    Args:
        samples: Completions a test prompt in place of each risk's own number; None keeps to the risks.
        together: Compositions measured in one pass.
        curve_prompts: Test prompts a risk at each point inside a stage; 0 draws no curves.
        curve_samples: Completions for each of these prompts; None keeps to the risks, on whose scale the curves then
            are.
        second_judges: By risk, a judge of another make that judges the same completions: no number should rest on one
            alone, least of all on the one that chose the pairs. None for none.
    """

    samples: Positive | None = None
    together: Positive = 4
    curve_prompts: Count = 20
    curve_samples: Positive | None = None
    second_judges: dict[Name, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BaselineSettings:
    """What patches are compared with beside the unpatched base.

    Args:
        instructions: By risk, a hard safety prompt: the base is told it and is not patched. None leaves it out.
        reference: Whether each risk's reference answers the test prompts too.
        lora_ranks: Ranks of LoRA adapters that are trained for each risk on the rows of its specialist.
        lora: Scale and learning rates of these adapters.
    """

    instructions: dict[Name, Instructed] | None = None
    reference: bool = False
    lora_ranks: tuple[Positive, ...] = ()
    lora: LoraSettings = field(default_factory=LoraSettings)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ExperimentSettings:
    """One job: one base, one seed, some risks in some orders, some strategies.

    Args:
        name: Name of the experiment, and of the folder of its runs.
        seed: Seed of training, of sampling in measurements, and of replay.
        pairs_seed: Seed of the samples that pairs are made of. Apart from `seed`, so that seeds share their
            pairs and differ in training and measuring; set it to ${seed} to vary both.
        runs: The root of all runs.
        device: Where to compute; None takes the first GPU, else the CPU.
        model: The base.
        risks: The risks by name.
        lessons: How each risk is taught.
        reference: One reference for every risk, in place of the lessons' own; None leaves each its own.
        order: The risks in the given order.
        orders: The orders in which order-sensitive strategies run.
        strategies: What is compared. Specialists are always trained: everything is measured against them.
        tokens: Rows of one specialist's patch.
        trainer: Phases, steps and rates of one specialist.
        anchors: Texts that keep the model's use while training.
        utility: What safety may not cost; None measures risks only.
        evaluation: How compositions are measured.
        baselines: What they are compared with beside the unpatched base.
        tracking: Where runs are tracked.
    """

    name: Name
    seed: Count = 0
    pairs_seed: Count = 0
    runs: Annotated[str, StringConstraints(min_length=1)] = "runs"
    device: str | None = None
    model: BaseSpec
    risks: dict[Name, RiskSpec]
    lessons: dict[Name, LessonSettings]
    reference: ReferenceSettings | None = None
    order: tuple[Name, ...]
    orders: Orders = "given"
    strategies: tuple[StrategySpec, ...]
    tokens: Positive = 50
    trainer: TrainSettings
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    utility: UtilitySpec | None = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)
    tracking: TrackSettings = field(default_factory=TrackSettings)

    @property
    def task(self) -> Task:
        """What every strategy is asked to do."""
        return Task(risks=self.order, tokens=self.tokens, orders=self.orders)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse settings that are each right and do not fit together, all of them in one error."""
        found = [
            *_unknown("order", set(self.order) - set(self.risks), self.risks),
            *_unknown("order (lessons)", set(self.order) - set(self.lessons), self.lessons),
            *(f"risks.{key}.name is {risk.name!r}" for key, risk in self.risks.items() if risk.name != key),
            *(f"risks.{risk}.n_train is 0" for risk in self.order if _untrained(self.risks.get(risk))),
            *self._uneven_replay(),
            *_missing("baselines.instructions", self.order, self.baselines.instructions),
            *second_judge_faults("evaluation.second_judges", self.evaluation.second_judges, self.risks),
        ]
        if not self.order or len(set(self.order)) != len(self.order):
            found.append("order must name one or more risks, each once")
        if self.trainer.anchor_weight and self.utility is None:
            found.append("trainer.anchor_weight needs utility, where benign requests and neutral text come from")
        if found:
            raise ValueError("; ".join(found))
        return self

    def _uneven_replay(self) -> list[str]:
        """Return a fault for each strategy whose share of replay gives no row, or every row, of a batch."""
        batch = self.trainer.batch_size
        return [
            f"strategies.{place}.replay.ratio {one.replay.ratio} is none or all of a batch of {batch} rows"
            for place, one in enumerate(self.strategies)
            if isinstance(one, Continual)
            and one.replay.mode != "none"
            and not 0 < round(one.replay.ratio * batch) < batch
        ]


def _unknown(where: str, names: set[str], known: Iterable[str]) -> list[str]:
    """Return a fault for each name that is not known."""
    return [f"{where}: {name!r} is none of {', '.join(sorted(known)) or 'nothing'}" for name in sorted(names)]


def _missing(where: str, names: Iterable[str], given: Mapping[str, object] | None) -> list[str]:
    """Return a fault for each name that is not given, unless nothing is."""
    return [] if given is None else [f"{where}.{name} is missing" for name in names if name not in given]


def _untrained(risk: RiskSpec | None) -> bool:
    """Return whether a risk has no prompts to train on."""
    return risk is not None and risk.n_train == 0
