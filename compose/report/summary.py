"""What a report says, as plain values: the runs of several seeds merged into one record of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compose.report.results import (
    BaseInfo,
    Estimate,
    Kind,
    MetricValue,
    PairsTable,
    RiskInfo,
    TrainingLog,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One composition over its seeds: safety per risk, every metric, utility, and the mean of what it took.

    `second` has the headline metric and the removed share by the second judge, for risks that have one.
    """

    name: str
    label: str
    kind: Kind
    tokens: int
    seeds: tuple[int, ...]
    safety: dict[str, Estimate]
    metrics: dict[str, dict[str, MetricValue]]
    utility: dict[str, MetricValue]
    second: dict[str, dict[str, MetricValue]] = field(default_factory=dict)
    unjudged: int = 0
    expression: str = ""
    cost: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ArmRow:
    """One arm over its seeds.

    Args:
        name: Unique name.
        label: Strategy with its variant; arms of several orders share it.
        strategy: Name in the registry of strategies.
        order: Risks in the order they were handled.
        stages: Composition after each stage.
        seeds: The seeds that ran it.
        R: Mean over the seeds, `[stage][risk]`.
        retention: By risk.
        worst: The smallest retention over the risks.
        forgetting: By convention.
        intransigence: By risk.
        contender: False for what the others are measured against (specialists, the joint patch).
        broken: Whether its final model reads neutral text so badly that its safety means nothing.
    """

    name: str
    label: str
    strategy: str
    order: tuple[str, ...]
    stages: tuple[str, ...]
    seeds: tuple[int, ...]
    R: tuple[tuple[float, ...], ...]
    retention: dict[str, Estimate]
    worst: Estimate
    forgetting: dict[str, Estimate]
    intransigence: dict[str, Estimate]
    contender: bool
    broken: bool

    @property
    def final(self) -> str:
        """The composition that the arm ends with."""
        return self.stages[-1]


@dataclass(frozen=True, kw_only=True)
class CurveLine:
    """One arm's safety on one risk along its stages: `(stage, step, mean, lowest seed, highest seed)`."""

    arm: str
    risk: str
    points: tuple[tuple[int, int, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers come from: code, machines, versions, settings, times. No list repeats itself."""

    commits: tuple[str, ...]
    dirty: bool
    commands: tuple[str, ...]
    machines: tuple[dict[str, str | int | float], ...]
    versions: dict[str, str]
    settings: dict[str, Any]
    started: str
    finished: str
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything a report shows, merged over seeds; arms are sorted, the best worst-risk retention first."""

    experiment: str
    seeds: tuple[int, ...]
    base: BaseInfo
    risks: tuple[RiskInfo, ...]
    base_name: str
    specialists: dict[str, str]
    joint: str | None
    rows: dict[str, Row]
    arms: tuple[ArmRow, ...]
    curves: tuple[CurveLine, ...]
    curve_base: dict[str, float]
    training: tuple[TrainingLog, ...]
    pairs: dict[str, tuple[PairsTable, ...]]
    provenance: Provenance
    warnings: tuple[str, ...] = field(default=())

    @property
    def contenders(self) -> tuple[ArmRow, ...]:
        """The arms that compete, the best first, broken models last."""
        return tuple(arm for arm in self.arms if arm.contender)

    def title(self, risk: str) -> str:
        """Return what people call a risk."""
        return next(info.title or info.name for info in self.risks if info.name == risk)
