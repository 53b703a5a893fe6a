"""Evaluations inside the stages: safety of the prefixes on the way, on a coarser yardstick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compose.evaluate.results import BASE
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.realise import Made, Prefix, Realiser
from compose.report.results import CurvePoint
from compose.strategies import Arm, Stage, TrainStage


@dataclass(frozen=True)
class Curves:
    """Evaluations inside the stages, and what the unpatched base is on the same yardstick.

    Attributes:
        points: Safety on every risk at the start, on the way and at the end of every stage of the trained arms.
        base: The base's safety by risk.
    """

    points: tuple[CurvePoint, ...] = ()
    base: Mapping[str, float] = field(default_factory=dict)


def measure_curves(
    arms: Sequence[Arm], made: Mapping[Stage, Made], realiser: Realiser, yardstick: Yardstick, folder: Path
) -> Curves:
    """Return the curves of every trained arm.

    Args:
        arms: The arms; a stage that several share is measured once and stands in the curve of each.
        made: Every stage, realised.
        realiser: Knows where a stage started.
        yardstick: The coarser yardstick.
        folder: Where measurements are kept.
    """
    trained = {
        stage: one.trained for stage, one in made.items() if one.trained is not None and isinstance(stage, TrainStage)
    }
    steps: dict[Stage, dict[int, Prefix]] = {
        stage: {0: realiser.beginning(stage), **one.snapshots, one.steps: one.patch.prefix}
        for stage, one in trained.items()
    }
    prefixes: dict[str, Prefix | None] = {BASE: None}
    prefixes |= {
        f"{made[stage].key} {step}": prefix for stage, by_step in steps.items() for step, prefix in by_step.items()
    }
    results = measured(prefixes, yardstick, folder, "curves")
    points = tuple(
        CurvePoint(
            arm=arm.name,
            stage=index,
            step=step,
            risk=risk,
            safety=result.mean_safety,
            n=len(result.safety),
        )
        for arm in arms
        if all(isinstance(stage, TrainStage) for stage in arm.stages)
        for index, stage in enumerate(arm.stages)
        for step in sorted(steps[stage])
        for risk, result in results[f"{made[stage].key} {step}"].risks.items()
    )
    return Curves(points, {risk: result.mean_safety for risk, result in results[BASE].risks.items()})
