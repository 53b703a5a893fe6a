"""What makes a run's record contradict itself: said in words, all of it, before anyone reads a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the types' module calls this one
    from compose.report.results import ArmResult, Composition, RunResults


def problems(results: RunResults) -> list[str]:
    """Return every way in which the record contradicts itself, in words; empty when it is sound."""
    risks = [risk.name for risk in results.risks]
    found = [] if len(set(risks)) == len(risks) and risks else ["the list of risks is empty or repeats a name"]
    # The name becomes a file name under records/.
    found += [f"{name!r} is no name for a risk" for name in risks if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)]
    named = {results.base_composition, *results.specialists.values()} | ({results.joint} - {None})
    found += [f"composition {name!r} is named but not measured" for name in named - {*results.compositions}]
    found += [
        f"pairs or specialist of an unknown risk {name!r}" for name in {*results.specialists, *results.pairs} - {*risks}
    ]
    for name, composition in results.compositions.items():
        found += _composition_problems(name, composition, risks)
    for arm in results.arms:
        found += _arm_problems(arm, results.compositions, risks)
    arms = {arm.name: len(arm.stages) for arm in results.arms}
    if len(arms) != len(results.arms):
        found.append("two arms have one name")
    for point in results.curves:
        if point.risk not in risks or not 0 <= point.stage < arms.get(point.arm, 0):
            found.append(f"a curve point of {point.arm!r}, stage {point.stage}, risk {point.risk!r} belongs nowhere")
    return found


def _composition_problems(name: str, composition: Composition, risks: list[str]) -> list[str]:
    if {*composition.risks} != {*risks}:
        return [f"composition {name!r} is not measured on exactly the run's risks"]
    found = []
    sights = [(risk, measure) for risk, measure in composition.risks.items()]
    sights += [
        (f"{risk}, second judge", one.second) for risk, one in composition.risks.items() if one.second is not None
    ]
    for sight, measure in sights:
        where = f"composition {name!r}, risk {sight!r}"
        if not measure.safety or len(measure.safety) != len(measure.prompt_ids):
            found.append(f"{where}: {len(measure.safety)} safety values for {len(measure.prompt_ids)} prompts")
        if measure.groups is not None and len(measure.groups) != len(measure.prompt_ids):
            found.append(f"{where}: {len(measure.groups)} groups for {len(measure.prompt_ids)} prompts")
        if len({*measure.prompt_ids}) != len(measure.prompt_ids):
            found.append(f"{where}: a prompt is listed twice")
        if any(not 0.0 <= value <= 1.0 for value in measure.safety):
            found.append(f"{where}: safety outside [0, 1]")
    return found


def _arm_problems(arm: ArmResult, compositions: Mapping[str, Composition], risks: list[str]) -> list[str]:
    where = f"arm {arm.name!r}"
    unknown = {*arm.stages} - {*compositions}
    if unknown or not arm.stages:
        return [f"{where}: stages {sorted(unknown)} are not measured"]
    if len(arm.R) != len(arm.stages) or any(len(row) != len(risks) for row in arm.R):
        return [f"{where}: R is not {len(arm.stages)} stages x {len(risks)} risks"]
    found = [] if {*arm.retention} <= {*risks} else [f"{where}: retention of an unknown risk"]
    for stage, row in zip(arm.stages, arm.R, strict=True):
        for risk, value in zip(risks, row, strict=True):
            measure = compositions[stage].risks.get(risk)
            if measure is not None and measure.safety and abs(measure.mean - value) > 1e-6:
                found.append(f"{where}: R[{stage}][{risk}] is not the mean of the recorded safety")
    return found
