"""A summary as files for programs: CSV with one number a line, JSON with everything, and a compact JSON.

None of them holds a prompt or a completion.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from compose.digest import of_json
from compose.report.results import Estimate, MetricValue
from compose.report.summary import Summary

SUMMARY_SCHEMA = 1
DIGITS = 6
"""Significant digits kept in JSON and CSV: finer than any interval, and stable under `git diff`."""
HEADER = (
    "what",
    "name",
    "label",
    "kind",
    "order",
    "risk",
    "metric",
    "direction",
    "value",
    "low",
    "high",
    "n",
    "seeds",
)


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the whole summary as JSON values."""
    values: dict[str, Any] = rounded(asdict(summary))
    return {"schema": SUMMARY_SCHEMA, **values}


def compact(summary: Summary) -> dict[str, Any]:
    """Return what is worth committing: provenance, and per composition and arm the numbers with intervals.

    Curves, training logs and settings (by digest) stay in the run's own folder.
    """
    came = summary.provenance
    rows = {
        row.name: {
            "label": row.label,
            "kind": row.kind,
            "tokens": row.tokens,
            "seeds": row.seeds,
            "metrics": {
                risk: {name: asdict(value) for name, value in found.items()} for risk, found in row.metrics.items()
            },
            "second": {
                risk: {name: asdict(value) for name, value in found.items()} for risk, found in row.second.items()
            },
            "safety": {risk: asdict(value) for risk, value in row.safety.items()},
            "utility": {name: asdict(value) for name, value in row.utility.items()},
            "unjudged": row.unjudged,
            "cost": row.cost,
        }
        for row in summary.rows.values()
    }
    values = {
        "experiment": summary.experiment,
        "seeds": summary.seeds,
        "base": asdict(summary.base),
        "risks": [asdict(risk) for risk in summary.risks],
        "compositions": rows,
        "arms": [asdict(arm) for arm in summary.arms],
        "pairs": {risk: [asdict(table) for table in tables] for risk, tables in summary.pairs.items()},
        "warnings": summary.warnings,
        "commits": came.commits,
        "dirty": came.dirty,
        "commands": came.commands,
        "machines": came.machines,
        "versions": came.versions,
        "started": came.started,
        "finished": came.finished,
        "seconds": came.seconds,
        "settings_digest": of_json(came.settings),
    }
    return {"schema": SUMMARY_SCHEMA, **rounded(values)}


def to_csv(summary: Summary) -> str:
    """Return every number as CSV in the long form: one line a composition or arm, risk and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_lines(summary))
    return out.getvalue()


def _lines(summary: Summary) -> Iterator[tuple[Any, ...]]:
    for row in summary.rows.values():
        lead = ("composition", row.name, row.label, row.kind, "")
        seeds = " ".join(map(str, row.seeds))
        for risk, safety in row.safety.items():
            yield (*lead, risk, "safety", "higher", *_numbers(safety), seeds)
            for name, value in row.metrics[risk].items():
                yield (*lead, risk, name, value.direction, *_numbers(value), seeds)
            for name, value in row.second.get(risk, {}).items():
                yield (*lead, risk, f"{name} by the second judge", value.direction, *_numbers(value), seeds)
        for name, value in row.utility.items():
            yield (*lead, "", name, value.direction, *_numbers(value), seeds)
    for arm in summary.arms:
        about = ("arm", arm.name, arm.label, arm.strategy, ">".join(arm.order))
        seeds = " ".join(map(str, arm.seeds))
        for risk, kept in arm.retention.items():
            yield (*about, risk, "retention", "higher", *_numbers(kept), seeds)
        yield (*about, "", "worst_risk_retention", "higher", *_numbers(arm.worst), seeds)
        for risk, missed in arm.intransigence.items():
            yield (*about, risk, "intransigence", "lower", *_numbers(missed), seeds)
        for convention, lost in arm.forgetting.items():
            direction = "lower" if convention.startswith("forgetting") else "higher"
            yield (*about, "", convention, direction, *_numbers(lost), seeds)


def _numbers(value: Estimate | MetricValue) -> tuple[Any, ...]:
    numbers = ("" if number is None else _round(number) for number in (value.value, value.low, value.high))
    return (*numbers, value.n)


def rounded(value: Any) -> Any:
    """Return a JSON value with its floats rounded and its tuples made lists."""
    if isinstance(value, float):
        return _round(value)
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _round(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
