"""Stacked training: earlier segments are frozen, a new one is appended and trained for each further risk."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.continual import Continual
from compose.strategies.plan import Arm, Stage, Task


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Stacked(Continual):
    """A prefix that grows by a segment a risk (2511.08484 v2, appendix; progressive prompts, 2301.12314)."""

    name: Literal["stacked"] = "stacked"

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm an order; every stage keeps the prefix before it and adds a fresh segment."""
        return self.arms_of(self.name, task)

    def grow(self, previous: Stage) -> tuple[Stage | None, Stage | None]:
        """Return a fresh start, and the prefix before to keep in front."""
        return None, previous
