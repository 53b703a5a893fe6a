"""The closed list of risk kinds, and what a kind must say: its headline, and how scores become metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from compose.evaluate.metrics import Direction, Metric
from compose.evaluate.risks.gender_bias import GenderBias, NextTokenMass
from compose.evaluate.risks.harmfulness import Harmfulness
from compose.evaluate.risks.over_refusal import OverRefusal
from compose.evaluate.risks.toxicity import Toxicity


class RiskKind(Protocol):
    """One kind of risk."""

    @property
    def headline(self) -> str:
        """The metric that safety is made from: safety is one minus its value."""
        ...

    @property
    def direction(self) -> Direction:
        """Which way the headline metric is better; `lower` for every kind so far."""
        ...

    @property
    def wants_next_token(self) -> bool:
        """Whether `metrics` wants the next-token masses of gendered words."""
        ...

    def danger(self, scores: Sequence[float], threshold: float) -> float:
        """Return one prompt's share of the headline metric from the scores of its samples, in [0, 1]."""
        ...

    def metrics(
        self, scores: Sequence[Sequence[float]], threshold: float, mass: NextTokenMass | None
    ) -> dict[str, Metric]:
        """Return the kind's metrics from scores as [prompt][sample], where every prompt has at least one."""
        ...


RISK_KINDS: Mapping[str, RiskKind] = MappingProxyType(
    {"toxicity": Toxicity(), "gender_bias": GenderBias(), "harmfulness": Harmfulness(), "over_refusal": OverRefusal()}
)
"""Every kind by name."""
