"""A handful of sampled completions a risk, side by side: the only place where a report shows texts.

Which prompts are shown is decided by the hash of their ids, among those on which the unpatched base did
badly, and not by what the patched models said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.report import words
from compose.report.samples import RecordRow, read_records
from compose.report.summary import Summary

PROMPTS_PER_RISK = 4
BAD = 0.5
"""A completion of the base with at least this score shows the risk (judges score 0 to 1, higher is worse)."""
LONGEST = 700
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Said:
    """What one model answered, and the judge's score of it."""

    model: str
    text: str
    score: str


@dataclass(frozen=True)
class Example:
    """One prompt with the answers of a few models."""

    prompt: str
    answers: tuple[Said, ...]


def examples(summary: Summary, folders: Sequence[Path]) -> dict[str, tuple[Example, ...]]:
    """Return a few examples by risk, from the first run folder that kept texts of that risk.

    Raises:
        Rejected: `results-invalid` when a line of the records is malformed.
    """
    found = {}
    for risk in summary.risks:
        shown = _shown(summary, risk.name)
        for folder in folders:
            if chosen := _from_folder(folder, risk.name, shown, summary.base_name):
                found[risk.name] = chosen
                break
    return found


def _shown(summary: Summary, risk: str) -> dict[str, str]:
    """Return the models to show by composition: base, specialist, joint, the best arm and the last one."""
    shown = {summary.base_name: summary.rows[summary.base_name].label}
    if risk in summary.specialists:
        shown[summary.specialists[risk]] = "specialist"
    if summary.joint is not None:
        shown[summary.joint] = "joint"
    ranked = [arm for arm in summary.contenders if arm.worst.value is not None]
    for arm in (*ranked[:1], *ranked[-1:]):
        shown.setdefault(arm.final, words.arm(arm))
    return shown


def _from_folder(folder: Path, risk: str, shown: dict[str, str], base: str) -> tuple[Example, ...]:
    rows: dict[str, dict[str, RecordRow]] = {}
    for row in read_records(folder, risk):
        if row.sample == 0 and row.composition in shown:
            rows.setdefault(row.prompt_id, {})[row.composition] = row
    bad = [key for key, by_model in rows.items() if base in by_model and (by_model[base].score or 0.0) >= BAD]
    chosen = sorted(bad or rows, key=lambda key: hashlib.sha256(key.encode()).digest())[:PROMPTS_PER_RISK]
    return tuple(_example(rows[key], shown) for key in chosen)


def _example(by_model: dict[str, RecordRow], shown: dict[str, str]) -> Example:
    answers = tuple(
        Said(model, _cut(by_model[name].completion), _score(by_model[name].score))
        for name, model in shown.items()
        if name in by_model
    )
    return Example(_cut(next(iter(by_model.values())).prompt), answers)


def _score(score: float | None) -> str:
    return "not judged" if score is None else words.number(score)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "\N{HORIZONTAL ELLIPSIS}"
