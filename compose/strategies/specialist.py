"""Specialists: one patch a risk, each on its own. What every other strategy is held against."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.plan import Arm, Task, specialist


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Specialist:
    """One patch a risk (2511.08484, section 3)."""

    name: Literal["specialist"] = "specialist"

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm of one stage for each risk."""
        return [
            Arm(label=self.name, strategy=self.name, order=(risk,), stages=(specialist(risk, task.tokens),))
            for risk in task.risks
        ]
