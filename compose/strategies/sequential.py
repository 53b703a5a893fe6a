"""Sequential training: the same patch is trained on for one risk after the other."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.continual import Continual
from compose.strategies.plan import Arm, Stage, Task


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Sequential(Continual):
    """One patch of constant length, trained on risk by risk (2511.08484 v2, appendix)."""

    name: Literal["sequential"] = "sequential"

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm an order; every stage starts from the patch of the stage before."""
        return self.arms_of(self.name, task)

    def grow(self, previous: Stage) -> tuple[Stage | None, Stage | None]:
        """Return the patch before as the start, and nothing to keep."""
        return previous, None
