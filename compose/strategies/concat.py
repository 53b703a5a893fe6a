"""Concatenation: the specialists one after the other in front of the input, untouched; order matters."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from compose.records import SETTINGS
from compose.strategies.plan import Arm, ComposeStage, Label, Orders, Stage, Task, orders_of, specialist


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Concat:
    """Specialists concatenated (2511.08484, section on composition).

    Args:
        name: Name in the registry.
        label: Name of the arm's variant; needed when two entries would have the same.
        orders: The orders to run: every one by default, for nothing is trained; None takes the experiment's.
    """

    name: Literal["concat"] = "concat"
    label: Label | None = None
    orders: Orders | None = "all"

    def arms(self, task: Task) -> list[Arm]:
        """Return one arm an order; stage t is the concatenation of the order's first t + 1 specialists."""
        arms = []
        for order in orders_of(task.risks, self.orders or task.orders):
            parts = tuple(specialist(risk, task.tokens) for risk in order)
            composed = (ComposeStage(method="concat", parts=parts[:end]) for end in range(2, len(parts) + 1))
            stages: tuple[Stage, ...] = (parts[0], *composed)
            arms.append(Arm(label=self.label or self.name, strategy=self.name, order=order, stages=stages))
        return arms
