"""Strategies, as plans: ways to get one patched model for several risks. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import Field

from compose.errors import Rejected
from compose.strategies.concat import Concat
from compose.strategies.joint import Joint
from compose.strategies.mean import Mean
from compose.strategies.plan import (
    MAX_NAME_CHARACTERS,
    Arm,
    ComposeStage,
    Orders,
    ReplaySpec,
    Stage,
    Strategy,
    Task,
    TrainStage,
    in_order,
    parents,
    stage_key,
    steps_of,
)
from compose.strategies.sequential import Sequential
from compose.strategies.specialist import Specialist
from compose.strategies.stacked import Stacked

__all__ = [
    "AnyStrategy",
    "Arm",
    "ComposeStage",
    "Orders",
    "ReplaySpec",
    "Stage",
    "Strategy",
    "StrategySpec",
    "Task",
    "TrainStage",
    "in_order",
    "parents",
    "plan_arms",
    "stage_key",
    "steps_of",
]

AnyStrategy: TypeAlias = Specialist | Concat | Mean | Joint | Sequential | Stacked
"""Every strategy: the registry."""

StrategySpec = Annotated[AnyStrategy, Field(discriminator="name")]
"""Settings of any strategy; files say which with the key `name`."""


def plan_arms(strategies: Sequence[Strategy], task: Task) -> list[Arm]:
    """Return every arm of an experiment: the specialists first, for all else is measured against them.

    Raises:
        Rejected: `settings-invalid` when two strategies would give their arms one name, when an option does
            not fit the number of risks, or when the risks are none or repeat.
    """
    if not task.risks or len(set(task.risks)) != len(task.risks):
        raise _invalid("order", "one or more risks, each once", ", ".join(task.risks) or "none", "name each once")
    arms = Specialist().arms(task)
    if len(task.risks) == 1:  # nothing to compose: every other arm would be the specialist under another name
        return arms
    for strategy in strategies:
        if isinstance(strategy, Specialist):
            continue
        try:
            arms += strategy.arms(task)
        except ValueError as error:
            raise _invalid(
                f"strategies: {strategy.name}",
                "options that fit the experiment's risks",
                str(error),
                "change one of them",
            ) from error
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _invalid(
            "strategies",
            "a name of its own for every arm",
            f"several arms called {', '.join(twice)}",
            "give one of the strategies a label of its own, such as label: sequential-replay-half",
        )
    _refuse_bad_names(arms)
    return arms


def _refuse_bad_names(arms: Sequence[Arm]) -> None:
    """Refuse names that a card cannot have, and one name for two different models."""
    named: dict[str, Stage] = {}
    for arm in arms:
        for index, stage in enumerate(arm.stages):
            name = arm.stage_name(index)
            if len(name) > MAX_NAME_CHARACTERS:
                raise _invalid(
                    "strategies",
                    f"names of at most {MAX_NAME_CHARACTERS} characters",
                    f"{name!r}, of {len(name)}",
                    "give the strategy a shorter label, or the risks shorter names",
                )
            if named.setdefault(name, stage) != stage:
                raise _invalid(
                    "strategies",
                    "a name of its own for every model",
                    f"two different models called {name}",
                    "give one of the strategies a label of its own, such as label: sequential-replay-half",
                )


def _invalid(subject: str, expected: str, got: str, fix: str) -> Rejected:
    return Rejected("settings-invalid", subject=subject, expected=expected, got=got, fix=fix)
