"""What sequential and stacked training share: one risk after the other, with or without replay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.plan import Arm, Label, Orders, ReplaySpec, Stage, Task, TrainStage, orders_of, specialist


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Continual(ABC):
    """A strategy that handles the risks one by one, each stage growing out of the one before.

    Args:
        label: Name of the arm's variant; needed when two entries would have the same.
        orders: The orders to run; None takes the experiment's.
        replay: What later stages train on beside their own risk.
    """

    label: Label | None = None
    orders: Orders | None = None
    replay: ReplaySpec = field(default_factory=ReplaySpec)

    def arms_of(self, strategy: str, task: Task) -> list[Arm]:
        """Return one arm an order; its stage 0 is the first risk's specialist."""
        replay = None if self.replay.mode == "none" else self.replay
        label = self.label or (f"{strategy}-{replay.mode}" if replay else strategy)
        arms = []
        for order in orders_of(task.risks, self.orders or task.orders):
            stages: list[Stage] = [specialist(order[0], task.tokens)]
            for done, risk in enumerate(order[1:], start=1):
                start, frozen = self.grow(stages[-1])
                stages.append(
                    TrainStage(
                        risks=(risk,),
                        tokens=task.tokens,
                        start=start,
                        frozen=frozen,
                        replay=replay,
                        memory=order[:done],
                    )
                )
            arms.append(Arm(label=label, strategy=strategy, order=order, stages=tuple(stages)))
        return arms

    @abstractmethod
    def grow(self, previous: Stage) -> tuple[Stage | None, Stage | None]:
        """Return what the next stage starts from and what it keeps in front, given the stage before."""
