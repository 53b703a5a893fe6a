"""One job: a base, a seed, some risks, some strategies. Trained, measured, written down, and resumable."""

from __future__ import annotations

import datetime
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import transformers
from pydantic import TypeAdapter

from compose import artifact, durable, report
from compose.artifact import Patch
from compose.digest import canonical_json
from compose.errors import Rejected
from compose.evaluate.results import BASE, Measurement
from compose.evaluate.risks import judged_again
from compose.laboratory import outcome, provenance
from compose.laboratory.baselines import Baseline, measure_baselines
from compose.laboratory.curves import Curves, measure_curves
from compose.laboratory.folders import CONFIG, Folders
from compose.laboratory.materials import Materials, gather
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.outcome import Measured
from compose.laboratory.realise import Made, Realiser, Teaching
from compose.laboratory.shelf import Shelf
from compose.laboratory.spec import ExperimentSettings
from compose.laboratory.starts import fresh_starts, start_claim
from compose.parse import revise
from compose.records import CardMetric
from compose.report.results import (
    RESULTS_FILE,
    BaseInfo,
    RunResults,
    read_results,
    write_results,
)
from compose.report.samples import RECORDS_FOLDER
from compose.strategies import Arm, Stage, TrainStage, plan_arms
from compose.strategies.plan import is_specialist
from compose.track import log_results, tracking

UTILITY_RECORDS = "utility.jsonl"
UNRECORDED = ("runs", "device")
"""Settings that say where a run was made; the machine is recorded apart."""


@dataclass
class _Clock:
    """Wall time by phase of a job."""

    started: str = field(default_factory=lambda: _now())
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's time to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def run_job(settings: ExperimentSettings, folders: Folders, *, config: str, command: str | None = None) -> RunResults:
    """Return the results of a job, whose folder then holds all it made; what was finished before is kept.

    Args:
        settings: What is to be done.
        folders: Where.
        config: The resolved configuration as YAML, kept beside the results for people.
        command: The command that repeats this job; None takes this process's own.

    Raises:
        Rejected: What any of its steps refuses; the message says what to change.
    """
    refuse_several_processes()
    with durable.locked(folders.run, waiting_for=f"another process that does this very job, {folders.run}"):
        if folders.is_complete():  # the same command, given twice, was faster
            return read_results(folders.run)
        durable.write_text(folders.run / CONFIG, config)
        return _run(settings, folders, command or provenance.command_line())


def _run(settings: ExperimentSettings, folders: Folders, command: str) -> RunResults:
    """Return the results of a job that no other process is at."""
    quiet()
    arms = plan_arms(settings.strategies, settings.task)
    clock = _Clock()
    for place in (folders.run, folders.patches, folders.stages, folders.measurements):
        durable.sweep(place)
    with clock.phase("prepare"):
        materials = gather(settings, folders)
    teaching = _teaching(settings, materials)
    realiser = Realiser(teaching, Shelf(folders.stages))
    with clock.phase("train"):
        made = realiser.run(arms)
    yardstick = Yardstick(
        base=materials.base,
        risks=materials.risks,
        utility=materials.utility,
        seed=settings.seed,
        samples=settings.evaluation.samples,
        together=settings.evaluation.together,
    )
    with clock.phase("measure"):
        prefixes = {BASE: None, **{one.key: one.patch.prefix for one in made.values()}}
        found = measured(prefixes, yardstick, folders.measurements, "measure")
        baselines = measure_baselines(
            materials.baselines, materials.risks, seed=settings.seed, samples=settings.evaluation.samples
        )
        baselines |= _loras(settings, arms, realiser, yardstick, folders)
        found = {name: _judged_again(one, materials) for name, one in found.items()}
        baselines = {
            name: replace(one, measurement=_judged_again(one.measurement, materials)) for name, one in baselines.items()
        }
    with clock.phase("curves"):
        curves = _curves(settings, arms, made, realiser, yardstick, folders)
    whole = Measured(
        risks=materials.risks,
        arms=arms,
        made=made,
        base=found[BASE],
        stages={stage: found[one.key] for stage, one in made.items()},
        curves=curves,
        baselines=baselines,
    )
    results = _results(settings, materials, whole, clock, command)
    _write(results, whole, folders)
    report.build([folders.run], folders.report)
    _track(settings, results, folders)
    folders.mark_complete()
    return results


def _judged_again(measurement: Measurement, materials: Materials) -> Measurement:
    """Return a measurement with the second judges' scores, which cost no generation and are never kept apart."""
    return judged_again(measurement, {risk.name: risk for risk in materials.risks}, materials.second)


def _track(settings: ExperimentSettings, results: RunResults, folders: Folders) -> None:
    """Tell the tracker everything, as one run of its own."""
    shutil.rmtree(folders.tracking, ignore_errors=True)  # of a call that was interrupted while it told the tracker
    name = f"{settings.name}-seed{settings.seed}-{folders.key[:8]}"
    patches = {arm.name: folders.patches / arm.name for arm in results.arms}
    with tracking(
        settings.tracking, folders.tracking, name=name, group=settings.name, config=results.settings
    ) as tracker:
        log_results(tracker, results, patches)


def refuse_several_processes() -> None:
    """Refuse to run under a distributed launcher: each process would wait for the others' locks.

    Raises:
        Rejected: When this process is one of several.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes > 1:
        raise Rejected(
            "settings-invalid",
            subject="a job of the laboratory",
            expected="one process",
            got=f"WORLD_SIZE={n_processes}",
            fix="sweep over seeds and strategies with --multirun and a launcher; `accelerate launch` is for scripts "
            "that call compose.training.stage.train_stage",
        )


def quiet() -> None:
    """Keep the libraries' chatter off: progress is shown by our own bars, losses are kept in the results."""
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")


def _teaching(settings: ExperimentSettings, materials: Materials) -> Teaching:
    """Return what every trained stage is trained with."""
    inits = {name: settings.lessons[name].init for name in settings.order}
    return Teaching(
        base=materials.base,
        pairs=materials.pairs,
        anchors=materials.anchors,
        settings=settings.trainer,
        start=fresh_starts(materials.base, inits, settings.seed),
        starts={name: start_claim(init) for name, init in inits.items()},
        efforts={name: settings.lessons[name].effort for name in settings.order},
        seed=settings.seed,
    )


def _loras(
    settings: ExperimentSettings, arms: Sequence[Arm], realiser: Realiser, yardstick: Yardstick, folders: Folders
) -> dict[str, Baseline]:
    """Return the adapters that the settings ask for, one for each specialist and rank."""
    if not settings.baselines.lora_ranks:
        return {}
    from compose.laboratory.adapters import measure_loras

    stages = [stage for arm in arms for stage in arm.stages]
    specialists = {s.risks[0]: s for s in stages if isinstance(s, TrainStage) and is_specialist(s)}
    wanted = settings.baselines
    return measure_loras(wanted.lora_ranks, wanted.lora, specialists, realiser, yardstick, folders)


def _curves(
    settings: ExperimentSettings,
    arms: Sequence[Arm],
    made: Mapping[Stage, Made],
    realiser: Realiser,
    yardstick: Yardstick,
    folders: Folders,
) -> Curves:
    """Return the evaluations inside the stages, none when the settings ask for none."""
    evaluation = settings.evaluation
    if not evaluation.curve_prompts:
        return Curves()
    lighter = yardstick.lighter(evaluation.curve_prompts, evaluation.curve_samples)
    return measure_curves(arms, made, realiser, lighter, folders.measurements)


def _results(
    settings: ExperimentSettings, materials: Materials, whole: Measured, clock: _Clock, command: str
) -> RunResults:
    """Return the record of the run."""
    commit, dirty = provenance.commit()
    names: dict[Stage, str] = {
        arm.stages[0]: arm.name for arm in whole.arms if is_specialist(arm.stages[0]) and len(arm.stages) == 1
    }
    recorded = TypeAdapter(ExperimentSettings).dump_python(settings, mode="json")
    return RunResults(
        experiment=settings.name,
        seed=settings.seed,
        command=command,
        settings={key: value for key, value in recorded.items() if key not in UNRECORDED},
        commit=commit,
        dirty=dirty,
        machine=provenance.machine(materials.base),
        versions=provenance.versions(),
        started=clock.started,
        finished=_now(),
        # Training is counted where it was done: by this job, by an interrupted call of it, or by another job.
        seconds={phase: round(seconds, 1) for phase, seconds in (clock.seconds | outcome.trained_for(whole)).items()},
        base=BaseInfo(name=materials.base.name, fingerprint=materials.base.fingerprint),
        risks=outcome.risk_infos(materials.risks, materials.second, settings.evaluation.samples),
        compositions=outcome.compositions(whole),
        base_composition=BASE,
        specialists={risk: names[stage] for risk, stage in whole.specialists.items()},
        joint=whole.joint[0] if whole.joint else None,
        arms=outcome.arm_results(whole),
        curves=whole.curves.points,
        curve_base=dict(whole.curves.base),
        training=outcome.training_logs(whole),
        pairs={risk: outcome.pairs_table(pairs) for risk, pairs in materials.pairs.items()},
        warnings=(*outcome.warnings(whole), *outcome.made_elsewhere(whole, commit)),
    )


def _write(results: RunResults, whole: Measured, folders: Folders) -> None:
    """Write records, patches and results; each file appears whole, the results last."""
    for risk in whole.names:
        rows = [row for name, found in _by_name(whole) for row in _record_rows(name, risk, found)]
        lines = b"".join(canonical_json(row) + b"\n" for row in rows)
        durable.write_bytes(folders.run / RECORDS_FOLDER / f"{risk}.jsonl", lines)
    benign = [{"composition": name, **record} for name, found in _by_name(whole) for record in found.utility_records]
    if benign:
        lines = b"".join(canonical_json(row) + b"\n" for row in benign)
        durable.write_bytes(folders.run / UTILITY_RECORDS, lines)
    for arm in whole.arms:
        last = arm.stages[-1]
        artifact.save(
            _finished(whole.made[last].patch, arm, whole.stages[last]),
            folders.patches / arm.name,
            replace=True,
        )
    write_results(folders.run / RESULTS_FILE, results)


def _by_name(whole: Measured) -> list[tuple[str, Measurement]]:
    """Return every measurement under its composition's name, those without a patch first, each name once."""
    found = {BASE: whole.base} | {name: one.measurement for name, one in whole.baselines.items()}
    for arm in whole.arms:
        for index, stage in enumerate(arm.stages):
            found.setdefault(arm.stage_name(index), whole.stages[stage])
    return list(found.items())


def _record_rows(name: str, risk: str, found: Measurement) -> list[dict[str, Any]]:
    """Return one composition's completions on one risk, as lines of its records."""
    return [{"composition": name, "risk": risk, **record} for record in found.risks[risk].records]


def _finished(patch: Patch, arm: Arm, found: Measurement) -> Patch:
    """Return an arm's patch under the arm's name, with what was measured on its card."""
    metrics = {
        f"{risk}/{name}": CardMetric(value=metric.value, direction=metric.direction, n=metric.n)
        for risk, result in found.risks.items()
        for name, metric in result.metrics.items()
        if metric.value is not None
    }
    metrics |= {
        f"utility/{name}": CardMetric(value=metric.value, direction=metric.direction, n=metric.n)
        for name, metric in found.utility.items()
        if metric.value is not None
    }
    return Patch(patch.prefix, revise(patch.card, name=arm.name, metrics=metrics))


def _now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
