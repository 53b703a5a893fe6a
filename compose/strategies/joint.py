"""Joint training: one patch on a balanced mixture of all risks, the reference for what forgetting costs."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.plan import Arm, Task, TrainStage


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Joint:
    """One patch for all risks at once (P_multi in 2511.08484), as long as their concatenation.

    The mixture is balanced: equal shares of every risk, in as many steps as all specialists take together.
    """

    name: Literal["joint"] = "joint"

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm of one stage: equal shares of every risk, as many tokens as all specialists have."""
        stage = TrainStage(risks=task.risks, tokens=task.tokens * len(task.risks))
        return [Arm(label=self.name, strategy=self.name, order=task.risks, stages=(stage,))]
