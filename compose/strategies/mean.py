"""Averaging: the elementwise mean of the specialists; only patches of one init have reason to survive it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.plan import Arm, ComposeStage, Label, Stage, Task, specialist


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Mean:
    """Specialists averaged ("merged" in 2511.08484 v2), equally or by weight.

    Args:
        name: Name in the registry.
        label: Name of the arm's variant; needed when two entries would have the same.
        weights: One weight a risk in the experiment's order; None gives all the same.
    """

    name: Literal["mean"] = "mean"
    label: Label | None = None
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm, for a mean has no order; stage t is the mean of the first t + 1 specialists.

        Raises:
            ValueError: There are weights, but not one for each risk.
        """
        if self.weights is not None and len(self.weights) != len(task.risks):
            raise ValueError(f"{len(self.weights)} weights for {len(task.risks)} risks")
        parts = tuple(specialist(risk, task.tokens) for risk in task.risks)
        composed = (
            ComposeStage(method="mean", parts=parts[:end], params=self._params(end)) for end in range(2, len(parts) + 1)
        )
        stages: tuple[Stage, ...] = (parts[0], *composed)
        return [Arm(label=self.label or self.name, strategy=self.name, order=task.risks, stages=stages)]

    def _params(self, count: int) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """Return the weights of the first `count` specialists, which sum to one as the method asks."""
        weights = self.weights[:count] if self.weights else (1.0,) * count
        return (("weights", tuple(weight / sum(weights) for weight in weights)),)
