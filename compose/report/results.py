"""The record of one finished run, as `results.json` holds it: the laboratory writes it, the report reads it.

One file per run (one experiment, one seed). It holds numbers, names and digests, never a prompt or a
completion: those are in the run's `records/<risk>.jsonl`, one `compose.report.samples.RecordRow` a line.

Notation: *safety* is a number per prompt in [0, 1] where higher is safer, the headline metric turned
round where needed; `R[t][i]` is the mean safety on risk `i` after stage `t` of an arm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from compose import durable
from compose.errors import Rejected
from compose.report.consistency import problems

SCHEMA: Literal[1] = 1
RESULTS_FILE = "results.json"
MAX_RESULTS_BYTES = 256 * 2**20
"""A run of forty compositions over three risks is about 2 MB; a file a hundred times that is not ours."""

_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)

PERPLEXITY_RATIO = "perplexity_ratio"
REMOVED_SHARE = "removed_share"
BROKEN_PERPLEXITY_RATIO = 1.5
"""Above this many times the base's perplexity of neutral text, a model is called broken: it may look safe for it."""

Direction = Literal["lower", "higher"]
Kind = Literal["base", "baseline", "specialist", "algebraic", "trained"]


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class MetricValue:
    """One measured number with the direction that is better, and its 95% interval where there is one.

    Args:
        value: The number, or None when nothing could be measured (the reason is in the run's warnings).
        direction: Which way is better.
        n: Sample size the number rests on (prompts, generations or tokens, as the metric says).
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float | None
    direction: Direction
    n: int
    low: float | None = None
    high: float | None = None


def is_broken(utility: Mapping[str, MetricValue]) -> bool:
    """Return whether a composition's utility says that its safety means nothing."""
    ratio = utility[PERPLEXITY_RATIO].value if PERPLEXITY_RATIO in utility else None
    return ratio is not None and ratio > BROKEN_PERPLEXITY_RATIO


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class RiskMeasure:
    """What one composition did on one risk's test prompts.

    Args:
        metrics: Every metric of the risk by name, the headline one among them.
        safety: Per prompt, in [0, 1], higher is safer; the mean is what stands in R.
        prompt_ids: The prompt behind each entry of `safety`, the pairing key between compositions.
        unjudged: Completions that the judge could not judge; they are in no number above.
        groups: The group of each prompt, where prompts of one group depend on each other; None where each stands for
            itself, and in records that are older than this field.
        second: The same completions by the second judge, its headline metric and what it makes of the base's unsafety;
            None without one.
    """

    metrics: dict[str, MetricValue]
    safety: tuple[float, ...]
    prompt_ids: tuple[str, ...]
    unjudged: int = 0
    groups: tuple[str, ...] | None = None
    second: RiskMeasure | None = None

    @property
    def mean(self) -> float:
        """The mean safety over prompts, in [0, 1]: what stands in R."""
        return math.fsum(self.safety) / len(self.safety)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class Composition:
    """One measured model: the base, the base behind one prefix, or what these are compared with.

    Args:
        label: Short name for people, e.g. `[tox; bias]`.
        kind: Where the prefix comes from; "baseline" has none and is no base: an instruction, the reference.
        tokens: Length of the prefix, 0 without one.
        patch: Digest of the prefix, None without one.
        risks: Measurements by risk name, every risk of the run.
        utility: Utility metrics by name (perplexity, refusals of benign requests, ...).
        expression: How the prefix was made, for algebraic compositions.
        cost: What it took, by name: `parameters`, `train_seconds`, `artifact_bytes`.
    """

    label: str
    kind: Kind
    tokens: int
    patch: str | None
    risks: dict[str, RiskMeasure]
    utility: dict[str, MetricValue] = field(default_factory=dict)
    expression: str = ""
    cost: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class Estimate:
    """A derived number with its 95% interval over `n` prompts.

    `value` None means undefined, and `reason` says why; beside a value, `reason` says what must be known
    before it is believed.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class ArmResult:
    """One strategy on one order of risks.

    Args:
        name: Unique in the run, the same for every seed.
        label: The strategy with its variant, such as `sequential-replay`: what arms of several orders share.
        strategy: Name in the registry of strategies.
        order: The risks in the order they were handled.
        stages: `stages[t]` is the name (key in `RunResults.compositions`) of the model after stage t.
        R: `[stage][risk]`, mean safety, risks in the order of `RunResults.risks` (not of `order`).
        retention: After the last stage, by risk: the share of the specialist's gain that is kept.
        worst_risk_retention: The smallest of these.
        forgetting: By named convention; None where the arm has too few stages for it.
        intransigence: By risk, `j_i - R[i][i]`: what the joint patch learned and this arm did not.
    """

    name: str
    label: str
    strategy: str
    order: tuple[str, ...]
    stages: tuple[str, ...]
    R: tuple[tuple[float, ...], ...]
    retention: dict[str, Estimate]
    worst_risk_retention: Estimate
    forgetting: dict[str, float | None] = field(default_factory=dict)
    intransigence: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class CurvePoint:
    """Safety on one risk at one optimiser step of one stage (from 0) of one arm.

    Every stage with a curve has a point at step 0, its start, and one at its last step, its end.
    """

    arm: str
    stage: int
    step: int
    risk: str
    safety: float
    n: int


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class TrainingLog:
    """What the trainer logged while it made one composition; every row has `step` and, say, `loss`."""

    composition: str
    phase: str
    rows: tuple[dict[str, float], ...]


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class PairFilter:
    """One filter on preference pairs, in the order of application: `kept + dropped` is what reached it."""

    name: str
    kept: int
    dropped: int


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class PairsTable:
    """How one risk's training pairs came about: the filters in order, and what was left."""

    candidates: int
    kept: int
    filters: tuple[PairFilter, ...]
    reference: str = ""
    judge: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class RiskInfo:
    """A risk as it was measured: its headline metric, judge, and the prompts by digest.

    Args:
        name: Key of the risk everywhere in the run.
        title: For people; the name when empty.
        headline: Name of the metric that `safety` comes from.
        direction: The better direction of that metric.
        judge: Name of the judge.
        judge_version: Its version.
        second_judge: Name of the judge behind `RiskMeasure.second`; empty where there is none.
        second_judge_version: Its version.
        n_test: Number of test prompts.
        k: Samples per prompt.
        prompts: Digest of the test prompts.
    """

    name: str
    headline: str
    direction: Direction
    judge: str
    judge_version: str
    n_test: int
    k: int
    prompts: str
    title: str = ""
    second_judge: str = ""
    second_judge_version: str = ""


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class BaseInfo:
    """The frozen model under every patch: its name, and the fingerprint that identifies it."""

    name: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class RunResults:
    """Everything a report needs from one run, apart from the texts.

    Args:
        schema: Version of this layout.
        experiment: Name of the preset.
        seed: The run's seed; runs that differ in nothing else are merged.
        command: The command line that repeats the run.
        settings: The resolved settings.
        commit: Commit of the code, or "unknown" outside a checkout.
        dirty: True when the checkout had changes on top of `commit`.
        machine: cpu, cores, memory, os and, where there is one, accelerator.
        versions: Versions of Python and of the packages that decide numbers.
        started: UTC, ISO 8601.
        finished: UTC, ISO 8601.
        seconds: Wall time by phase (fetch, pairs, train, evaluate, ...).
        base: The model under the patches.
        risks: In the order of R's columns.
        compositions: By name; the name of the unpatched base is in `base_composition`.
        base_composition: Name of the base's row.
        specialists: By risk, the name of the composition that retention is measured against.
        joint: Name of the jointly trained composition, if there is one.
        arms: In the order they were run.
        curves: Evaluations inside the stages, on fewer prompts.
        curve_base: By risk, the unpatched base's safety on the prompts of the curves.
        training: Training logs.
        pairs: By risk.
        warnings: What a reader must know before trusting a number.
    """

    schema: Literal[1] = SCHEMA
    experiment: str
    seed: int
    command: str
    settings: dict[str, JsonValue]
    commit: str
    dirty: bool
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    started: str
    finished: str
    seconds: dict[str, float]
    base: BaseInfo
    risks: tuple[RiskInfo, ...]
    compositions: dict[str, Composition]
    base_composition: str = "base"
    specialists: dict[str, str] = field(default_factory=dict)
    joint: str | None = None
    arms: tuple[ArmResult, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    curve_base: dict[str, float] = field(default_factory=dict)
    training: tuple[TrainingLog, ...] = ()
    pairs: dict[str, PairsTable] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


_RESULTS: TypeAdapter[RunResults] = TypeAdapter(RunResults)


def to_json(results: RunResults) -> dict[str, Any]:
    """Return `results` as plain JSON values, the exact content of `results.json`."""
    value: dict[str, Any] = _RESULTS.dump_python(results, mode="json")
    return value


def write_results(path: Path, results: RunResults) -> None:
    """Write `results.json` in one atomic step.

    Raises:
        Rejected: `results-invalid` when the record contradicts itself (see `problems`).
    """
    found = problems(results)
    if found:
        raise _invalid(path, "; ".join(found[:5]))
    durable.write_json(path, to_json(results))


def read_results(path: Path) -> RunResults:
    """Return the run recorded in `path`, a `results.json` or the run folder that holds one.

    Raises:
        Rejected: `results-missing` when there is no such file, `results-invalid` when it is too large, is no
            JSON, repeats a key, has an unknown or missing key, a wrong type or NaN, or contradicts itself.
    """
    path = path / RESULTS_FILE if path.is_dir() else path
    if not path.is_file():
        raise Rejected(
            "results-missing",
            subject=str(path),
            expected="the results.json of a finished run",
            got="no such file",
            fix="name the folder of a finished run; an interrupted one resumes when its command is repeated",
        )
    if path.stat().st_size > MAX_RESULTS_BYTES:
        raise _invalid(path, f"{path.stat().st_size} bytes, more than {MAX_RESULTS_BYTES}")
    data = path.read_bytes()
    try:
        json.loads(data, object_pairs_hook=_no_duplicates)
        results = _RESULTS.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(path, f"{where or 'the file'}: {first['msg']} ({error.error_count()} in all)") from error
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)) from error
    found = problems(results)
    if found:
        raise _invalid(path, "; ".join(found[:5]))
    return results


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return keys


def _invalid(path: Path, got: str) -> Rejected:
    return Rejected(
        "results-invalid",
        subject=str(path),
        expected=f"a run record of schema {SCHEMA}, complete and free of contradictions",
        got=got,
        fix="write it with the version of compose that reads it, or repeat the run",
    )
