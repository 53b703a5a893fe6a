"""A strategy's plan as plain data: which patches are trained or composed, from what, and in which order.

Nothing here computes; the laboratory realises a plan. Stages are values: two arms that start from the same
specialist hold equal stages, get equal keys, and the specialist is trained once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass as plain
from itertools import permutations
from math import ceil
from typing import Annotated, Any, Literal, Protocol, TypeAlias, TypeGuard

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from compose.digest import of_json
from compose.records import SETTINGS

KEY_SCHEMA = 3
"""Raised when a change of the code makes the same settings train another patch: no old one is then used."""

Orders: TypeAlias = Literal["given", "cyclic", "all"]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ReplaySpec:
    """What a later stage trains on beside its own risk's pairs.

    Args:
        mode: `none` adds nothing; `replay` adds pairs of earlier risks out of a buffer; `pad` adds the same
            number of rows of the current risk, so that the effect of replay is told from that of more rows.
        ratio: Share of the added rows in every batch. They come on top: the current risk's pairs are seen as
            often as without, so a stage takes 1 / (1 - ratio) times the steps.
        capacity: Pairs that the buffer holds, over all earlier risks.
        policy: `reservoir` keeps a uniform sample of all pairs seen; `balanced` as many of every risk.
    """

    mode: Literal["none", "replay", "pad"] = "none"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    capacity: Annotated[int, Field(gt=0)] = 64
    policy: Literal["reservoir", "balanced"] = "balanced"


Label = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9-]*\z", max_length=32)]
"""What an arm's variant may be called: it becomes part of file names and of the names on cards."""
MAX_NAME_CHARACTERS = 64
"""As many as a card's name may have."""


@plain(frozen=True, kw_only=True)
class TrainStage:
    """One trained patch.

    Args:
        risks: The risks whose pairs are trained on, in equal shares.
        tokens: Rows of the trained segment.
        start: The patch the segment starts from; None for a fresh init.
        frozen: The patch that stands in front of the segment and is kept as it is.
        replay: What is added to the risks' own pairs; None adds nothing.
        memory: The risks trained earlier on the way here, oldest first: what a replay buffer has seen.
    """

    risks: tuple[str, ...]
    tokens: int
    start: Stage | None = None
    frozen: Stage | None = None
    replay: ReplaySpec | None = None
    memory: tuple[str, ...] = ()


@plain(frozen=True, kw_only=True)
class ComposeStage:
    """One composed patch: an algebraic method on finished patches, with its parameters by name."""

    method: str
    parts: tuple[Stage, ...]
    params: tuple[tuple[str, Any], ...] = ()


Stage: TypeAlias = TrainStage | ComposeStage


@plain(frozen=True, kw_only=True)
class Arm:
    """One strategy on one order of risks; `stages[t]` is the model after stage t.

    Args:
        label: The strategy with its variant, such as `sequential-replay`.
        strategy: Name in the registry of strategies.
        order: The risks in the order they are handled.
        stages: The stages; the last one is the arm's result.
    """

    label: str
    strategy: str
    order: tuple[str, ...]
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """The arm's name, the same for every seed, fit for a file name."""
        return "-".join((self.label, *self.order))

    def stage_name(self, index: int) -> str:
        """Return the name of the model after stage `index`: a specialist's own, or the arm's up to there."""
        stage = self.stages[index]
        if is_specialist(stage):
            return f"specialist-{stage.risks[0]}"
        if index == len(self.stages) - 1:
            return self.name
        return "-".join((self.label, *self.order[: index + 1]))


@plain(frozen=True, kw_only=True)
class Task:
    """What every strategy is asked to do: these risks, this many tokens a specialist, these orders."""

    risks: tuple[str, ...]
    tokens: int
    orders: Orders = "given"


class Strategy(Protocol):
    """A way to obtain one patched model for several risks; its fields are its settings."""

    @property
    def name(self) -> str:
        """The name in the registry."""

    def arms(self, task: Task) -> list[Arm]:
        """Return the arms to run, one for each order that makes a difference."""


def specialist(risk: str, tokens: int) -> TrainStage:
    """Return the stage that trains one risk's patch from a fresh init."""
    return TrainStage(risks=(risk,), tokens=tokens)


def is_specialist(stage: Stage) -> TypeGuard[TrainStage]:
    """Return whether a stage is one risk's patch, trained from a fresh init and nothing else."""
    return isinstance(stage, TrainStage) and stage == specialist(stage.risks[0], stage.tokens)


def orders_of(risks: tuple[str, ...], orders: Orders) -> list[tuple[str, ...]]:
    """Return the orders to run, the given one first: it alone, its rotations, or every permutation."""
    if orders == "given":
        return [risks]
    if orders == "cyclic":
        return [risks[turn:] + risks[:turn] for turn in range(len(risks))]
    return list(permutations(risks))


def steps_of(stage: TrainStage, steps: int, batch_size: int, efforts: Mapping[str, float]) -> int:
    """Return in how many steps a stage trains on as many rows of its risks as their specialists do together.

    A mixture of n risks takes as many as they all take, in equal shares: a risk of more effort is seen less often than
    by its specialist. Rows that replay adds to a batch are made up for by more steps.

    Args:
        stage: The stage.
        steps: Steps of a specialist whose risk takes no more effort than others.
        batch_size: Rows of one step.
        efforts: By risk, how many times these steps its specialist takes.
    """
    added = round(stage.replay.ratio * batch_size) if stage.replay else 0
    own = sum(ceil(steps * efforts[risk]) for risk in stage.risks)
    return ceil(own * batch_size / (batch_size - added))


def parents(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages that must be finished before this one, each once."""
    if isinstance(stage, ComposeStage):
        return tuple(dict.fromkeys(stage.parts))
    named = (stage.frozen, stage.start)
    return tuple(dict.fromkeys(parent for parent in named if parent is not None))


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Return the stages and all they depend on, each once, parents before children."""
    done: dict[Stage, None] = {}

    def visit(stage: Stage) -> None:
        for parent in parents(stage):
            visit(parent)
        done.setdefault(stage)

    for stage in stages:
        visit(stage)
    return list(done)


def stage_key(stage: Stage, context: Mapping[str, Any]) -> str:
    """Return 64 hex digits that name a stage's result: equal when nothing that could change it differs.

    Args:
        stage: The stage.
        context: JSON values that the result depends on beside the plan: `pairs` maps each risk to the digest
            of its pairs, `starts` to where a fresh patch for it starts and `efforts` to what it takes; all else
            (base fingerprint, training settings, seed) counts for every trained stage.

    Raises:
        KeyError: The context has no pairs, start or effort for one of the stage's risks.
    """
    if isinstance(stage, ComposeStage):
        claim: dict[str, Any] = {
            "method": stage.method,
            "params": dict(stage.params),
            "parts": [stage_key(part, context) for part in stage.parts],
        }
    else:
        replays = stage.replay is not None and stage.replay.mode == "replay"
        data = stage.risks + (stage.memory if replays else ())
        claim = {
            "context": {name: value for name, value in context.items() if name not in ("pairs", "starts", "efforts")},
            "pairs": [[risk, context["pairs"][risk]] for risk in data],
            "fresh": None if stage.start else [context["starts"][risk] for risk in stage.risks],
            "efforts": [context["efforts"][risk] for risk in stage.risks],
            "tokens": stage.tokens,
            "start": stage.start and stage_key(stage.start, context),
            "frozen": stage.frozen and stage_key(stage.frozen, context),
            "replay": stage.replay
            and [stage.replay.mode, stage.replay.ratio, stage.replay.capacity, stage.replay.policy],
        }
    return of_json({"schema": KEY_SCHEMA, **claim}).removeprefix("sha256:")
