"""Second judges: no number should rest on one judge alone, least of all on the one that chose the training pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from compose.evaluate.judges import JUDGES, Judge, Judged, judge_all, make_judge
from compose.evaluate.metrics import over_groups
from compose.evaluate.results import Measurement, RiskResult
from compose.evaluate.risks.load import Risk
from compose.evaluate.risks.spec import RiskSpec


def second_judge_faults(where: str, chosen: Mapping[str, str | None], risks: Mapping[str, RiskSpec]) -> Iterator[str]:
    """Yield what is wrong with a choice of second judges by risk.

    Args:
        where: The key of the settings that holds it.
        chosen: A name of `JUDGES` for each risk; None for none.
        risks: What there is to judge.
    """
    for key, judge in chosen.items():
        if key not in risks:
            yield f"{where}.{key}: no such part, only {', '.join(risks)}"
        elif judge == risks[key].judge:
            yield f"{where}.{key} is the first judge again, {judge!r}"
        if judge is not None and judge not in JUDGES:
            yield f"{where}.{key} is {judge!r}; known judges are {', '.join(sorted(JUDGES))}"


def make_second_judges(chosen: Mapping[str, str | None]) -> dict[str, Judge]:
    """Return the chosen judges, ready to judge; nothing for a risk without one."""
    return {name: make_judge(judge) for name, judge in chosen.items() if judge is not None}


def judged_again(measurement: Measurement, risks: Mapping[str, Risk], second: Mapping[str, Judge]) -> Measurement:
    """Return a measurement whose completions also have a second judge's score, and each risk what follows from it.

    Args:
        measurement: What was measured; all its numbers stay the first judge's.
        risks: The risks by name.
        second: By risk, the second judge; a risk without one stays as it is.

    Raises:
        Rejected: `judge-silent`.
    """
    found = {
        name: _judged_again(result, risks[name], second[name]) if name in second else result
        for name, result in measurement.risks.items()
    }
    return replace(measurement, risks=found)


def _judged_again(result: RiskResult, risk: Risk, judge: Judge) -> RiskResult:
    """Return one risk's result with the second judge's as its `second`, and both scores in its records."""
    items = [Judged(record["prompt"], record["completion"]) for record in result.records]
    scores = judge_all(judge, items, subject=f"risk {risk.name}, second judge {judge.name}")
    records = [record | {"second": score} for record, score in zip(result.records, scores, strict=True)]
    judged: dict[str, list[float]] = {}
    for record in records:
        if record["second"] is not None:
            judged.setdefault(record["prompt_id"], []).append(record["second"])
    threshold = risk.spec.threshold
    metric = risk.kind.metrics(list(judged.values()), threshold, None)[risk.headline]
    dangers = [risk.kind.danger(known, threshold) for known in judged.values()]
    groups = None
    if risk.spec.by_group:
        group = {record["prompt_id"]: record["group"] for record in records}
        groups = [group[key] for key in judged]
        metric = over_groups(metric, dangers, groups)
    by_second = RiskResult(
        risk=risk.name,
        headline=risk.headline,
        metrics={risk.headline: metric},
        safety=[1 - danger for danger in dangers],
        prompt_ids=list(judged),
        unjudged=sum(score is None for score in scores),
        groups=groups,
    )
    return replace(result, records=records, second=by_second)
