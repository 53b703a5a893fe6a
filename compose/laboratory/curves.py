"""Evaluations inside the stages: safety of the prefixes on the way, on a coarser yardstick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.realise import Made, Prefix, Realiser
from compose.report.results import CurvePoint
from compose.strategies import Arm, Stage, TrainStage


def curve_points(
    arms: Sequence[Arm], made: Mapping[Stage, Made], realiser: Realiser, yardstick: Yardstick, folder: Path
) -> list[CurvePoint]:
    """Return safety on every risk at the start, on the way and at the end of every stage of the trained arms.

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
    prefixes = {
        f"{made[stage].key} {step}": prefix for stage, by_step in steps.items() for step, prefix in by_step.items()
    }
    results = measured(prefixes, yardstick, folder, "curves")
    return [
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
    ]
