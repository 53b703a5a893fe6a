"""Tracking of runs: Weights & Biases, or nothing. A tracker never decides whether a run succeeds.

What is logged about a run, and on which axes (W&B drops values whose step goes back, so every curve brings its
own x axis instead of the internal step):

- `safety/<risk>/<arm>` over `at/steps`: the forgetting curves; `at/steps` counts steps over all stages of the arm,
  `at/stage` and `at/step` beside it say which stage and which step of it;
- `stage_end/<risk>/<arm>` over `at/stage`: the rows of the R matrix, also as a table and a heat map under
  `R/<arm>`;
- `train/<arm>/<stage>/<name>` over `train/<arm>/<stage>/step`: what the trainer logged;
- `final/<composition>/<risk or utility>/<metric>` in the run's summary: what every composition did, so that the runs of
  a sweep can be sorted, grouped and plotted by it;
- the patches, as artifacts.
"""

from __future__ import annotations

import importlib.util
import logging
import netrc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic.dataclasses import dataclass

from compose.assets.cache import offline
from compose.records import SETTINGS
from compose.report.results import Composition, RunResults

log = logging.getLogger(__name__)

INIT_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 120.0
"""How long a run waits for W&B to come up, and for uploads at its end; what is not uploaded can be synced later."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrackSettings:
    """Where runs are tracked.

    Args:
        to: `wandb`, or `nothing`.
        mode: `offline` writes files that `wandb sync` uploads later; `online` needs a key; `auto` is online when
            WANDB_API_KEY is set, and otherwise what WANDB_MODE says, or offline.
            COMPOSE_OFFLINE makes all of them offline.
        project: W&B project.
        entity: W&B team or user; None leaves it to W&B.
        patches: Whether patches are logged as artifacts.
    """

    to: Literal["wandb", "nothing"] = "wandb"
    mode: Literal["auto", "offline", "online"] = "auto"
    project: str = "compose"
    entity: str | None = None
    patches: bool = True


class Tracker(Protocol):
    """What a run tells about itself. One tracker serves one run at a time: `start`, logs, `finish`."""

    def start(self, name: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin a run; `group` is what the seeds and arms of one experiment share."""

    def log_curve(self, risk: str, arm: str, stage: int, step: int, safety: float) -> None:
        """Log one point of a forgetting curve; points of an arm come stage by stage."""

    def log_matrix(self, arm: str, R: Sequence[Sequence[float]], risks: Sequence[str]) -> None:
        """Log an arm's R matrix, `[stage][risk]`."""

    def log_training(self, arm: str, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log what the trainer said at one step of one stage."""

    def log_final(self, composition: str, values: Mapping[str, float]) -> None:
        """Log what a composition did in the end, by `<risk>/<metric>` or `utility/<metric>`."""

    def log_patch(self, folder: Path, name: str) -> None:
        """Log a patch folder, which must stay where it is until it is uploaded."""

    def finish(self) -> None:
        """End the run, so that the next one in this process is its own."""


class NullTracker:
    """A tracker that does nothing."""

    def start(self, name: str, group: str, config: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_curve(self, risk: str, arm: str, stage: int, step: int, safety: float) -> None:
        """Do nothing."""

    def log_matrix(self, arm: str, R: Sequence[Sequence[float]], risks: Sequence[str]) -> None:
        """Do nothing."""

    def log_training(self, arm: str, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_final(self, composition: str, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def log_patch(self, folder: Path, name: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """A tracker that writes a W&B run below `folder`.

    Args:
        settings: Where to.
        folder: Where W&B keeps the run's files.
    """

    def __init__(self, settings: TrackSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._run: Any = None
        self._defined: set[str] = set()
        self._lengths: dict[str, dict[int, int]] = {}

    def start(self, name: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin a run; it is written offline when W&B cannot be reached."""
        import wandb

        mode = _mode(self._settings.mode)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._init(mode, name, group, config)
        except (wandb.Error, TimeoutError) as error:
            if mode == "offline":
                raise
            log.warning("W&B cannot be reached (%s): the run is written offline, `wandb sync` uploads it", error)
            self._run = self._init("offline", name, group, config)
        self._defined, self._lengths = set(), {}

    def _init(self, mode: str, name: str, group: str, config: Mapping[str, Any]) -> Any:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,  # the commit is in the results; a diff could hold prompts
            save_code=False,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
        )
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=name,
            group=group,
            config=dict(config),
            dir=str(self._folder),
            id=name,
            resume="allow" if mode == "online" else None,  # a job that is told again continues its own run
            mode=mode,  # type: ignore[arg-type]
            reinit="create_new",  # never the previous job's run, even if that job was killed before its finish
            settings=settings,
        )

    def log_curve(self, risk: str, arm: str, stage: int, step: int, safety: float) -> None:
        """Log one point of a forgetting curve, on the axis of the arm's steps laid end to end."""
        key = f"safety/{risk}/{arm}"
        self._define(key, "at/steps")
        lengths = self._lengths.setdefault(arm, {})
        lengths[stage] = max(step, lengths.get(stage, 0))
        before = sum(length for earlier, length in lengths.items() if earlier < stage)
        self._log({key: safety, "at/steps": before + step, "at/stage": stage, "at/step": step})

    def log_matrix(self, arm: str, R: Sequence[Sequence[float]], risks: Sequence[str]) -> None:
        """Log an arm's R matrix: its rows over the stages, a table and a heat map."""
        import wandb

        for stage, row in enumerate(R):
            values = {f"stage_end/{risk}/{arm}": value for risk, value in zip(risks, row, strict=True)}
            for key in values:
                self._define(key, "at/stage")
            self._log({**values, "at/stage": stage})
        table = wandb.Table(columns=["stage", *risks], data=[[stage, *row] for stage, row in enumerate(R)])
        self._log({f"R/{arm}/table": table, f"R/{arm}/heat_map": wandb.Image(str(self._heat_map(arm, R, risks)))})

    def _heat_map(self, arm: str, R: Sequence[Sequence[float]], risks: Sequence[str]) -> Path:
        # matplotlib takes a second to import, which a run that is not tracked need not spend.
        from compose.report.plots import Matrix, matrix

        rows = tuple(tuple(row) for row in R)
        plot = matrix(Matrix(title=arm, order=(), risks=tuple(risks), R=rows), name="R")
        path = self._folder / f"R-{arm}.png"
        path.write_bytes(plot.png)
        return path

    def log_training(self, arm: str, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log what the trainer said at one step, on the stage's own axis."""
        axis = f"train/{arm}/{stage}/step"
        logged = {f"train/{arm}/{stage}/{name}": value for name, value in values.items() if name != "step"}
        for key in logged:
            self._define(key, axis)
        self._log({**logged, axis: step})

    def log_final(self, composition: str, values: Mapping[str, float]) -> None:
        """Log what a composition did in the end, into the run's summary."""
        self._run.summary.update({f"final/{composition}/{name}": value for name, value in values.items()})

    def log_patch(self, folder: Path, name: str) -> None:
        """Log a patch folder as an artifact."""
        import wandb

        if not self._settings.patches:
            return
        artifact = wandb.Artifact(name, type="patch")
        # A patch folder never changes: W&B can read it where it is, and need not copy it to the home directory.
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """End the run and wait for its files to be written."""
        if self._run is not None:
            run, self._run = self._run, None
            run.finish()

    def _define(self, key: str, axis: str) -> None:
        """Tell W&B once which axis a metric is drawn over."""
        for name, step_metric in ((axis, None), (key, axis)):
            if name not in self._defined:
                self._run.define_metric(name, step_metric=step_metric, hidden=step_metric is None)
                self._defined.add(name)

    def _log(self, values: Mapping[str, Any]) -> None:
        self._run.log(dict(values))


class _Guarded:
    """A tracker whose failures become one warning; after the first it is silent."""

    def __init__(self, inner: Tracker) -> None:
        self._inner = inner

    def start(self, name: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin a run, if possible."""
        self._try(lambda: self._inner.start(name, group, config))

    def log_curve(self, risk: str, arm: str, stage: int, step: int, safety: float) -> None:
        """Log one point of a curve, if possible."""
        self._try(lambda: self._inner.log_curve(risk, arm, stage, step, safety))

    def log_matrix(self, arm: str, R: Sequence[Sequence[float]], risks: Sequence[str]) -> None:
        """Log an R matrix, if possible."""
        self._try(lambda: self._inner.log_matrix(arm, R, risks))

    def log_training(self, arm: str, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log what the trainer said, if possible."""
        self._try(lambda: self._inner.log_training(arm, stage, step, values))

    def log_final(self, composition: str, values: Mapping[str, float]) -> None:
        """Log what a composition did in the end, if possible."""
        self._try(lambda: self._inner.log_final(composition, values))

    def log_patch(self, folder: Path, name: str) -> None:
        """Log a patch folder, if possible."""
        self._try(lambda: self._inner.log_patch(folder, name))

    def finish(self) -> None:
        """End the run, if possible."""
        self._try(self._inner.finish)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a tracker's service, threads and sockets raise, a run outlives it
            log.warning("tracking failed and is off for the rest of this run: %s: %s", type(error).__name__, error)
            failed, self._inner = self._inner, NullTracker()
            self._close(failed)

    def _close(self, failed: Tracker) -> None:
        """End the failed run all the same, so that a later one in this process does not join it."""
        try:
            failed.finish()
        except Exception:
            log.debug("the failed run could not be ended", exc_info=True)


def make_tracker(settings: TrackSettings, folder: Path) -> Tracker:
    """Return the tracker that the settings ask for, whose failures never reach the caller.

    Args:
        settings: Where to.
        folder: Where the tracker keeps its files.
    """
    if settings.to == "nothing":
        return NullTracker()
    if importlib.util.find_spec("wandb") is None:
        log.warning("wandb is not installed: the run is not tracked (pip install wandb, or tracking=off)")
        return NullTracker()
    return _Guarded(WandbTracker(settings, folder))


@contextmanager
def tracking(
    settings: TrackSettings, folder: Path, *, name: str, group: str, config: Mapping[str, Any]
) -> Iterator[Tracker]:
    """Yield a tracker with a run begun, and end the run however the block ends."""
    tracker = make_tracker(settings, folder)
    tracker.start(name, group, config)
    try:
        yield tracker
    finally:
        tracker.finish()


def log_results(tracker: Tracker, results: RunResults, patches: Mapping[str, Path]) -> None:
    """Log everything a finished run has to show.

    Args:
        tracker: A tracker with a run begun.
        results: The run.
        patches: Patch folders by name.
    """
    for point in sorted(results.curves, key=lambda point: (point.arm, point.stage, point.step, point.risk)):
        tracker.log_curve(point.risk, point.arm, point.stage, point.step, point.safety)
    risks = [risk.name for risk in results.risks]
    for arm in results.arms:
        tracker.log_matrix(arm.name, arm.R, risks)
    for entry in results.training:
        for row in entry.rows:
            tracker.log_training(entry.composition, entry.phase, int(row.get("step", 0)), row)
    for name, composition in results.compositions.items():
        tracker.log_final(name, _final(composition))
    for name, folder in patches.items():
        tracker.log_patch(folder, name)


def _final(composition: Composition) -> dict[str, float]:
    """Return a composition's numbers by `<risk>/<metric>` and `utility/<metric>`, those that could be measured."""
    parts = {risk: found.metrics for risk, found in composition.risks.items()} | {"utility": composition.utility}
    parts |= {f"{risk}/second": one.second.metrics for risk, one in composition.risks.items() if one.second is not None}
    return {
        f"{part}/{name}": metric.value
        for part, metrics in parts.items()
        for name, metric in metrics.items()
        if metric.value is not None
    }


def _mode(asked: str) -> str:
    """Return the mode to ask W&B for: never one that would make it ask for a login, or use a forbidden network."""
    key = bool(os.environ.get("WANDB_API_KEY"))
    if asked == "auto":
        asked = os.environ.get("WANDB_MODE", "") or ("online" if key else "offline")
    if asked == "online" and offline():
        return "offline"
    if asked != "online" or key or _key_on_file():
        return asked
    log.warning("W&B online needs WANDB_API_KEY or `wandb login`: the run is written offline")
    return "offline"


def _key_on_file() -> bool:
    """Return whether `wandb login` left a key in the user's netrc."""
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
