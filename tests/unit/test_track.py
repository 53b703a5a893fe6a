"""What W&B's offline files hold is read back, point by point; a tracker that fails changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import wandb

from compose import track
from compose.report.results import (
    ArmResult,
    BaseInfo,
    Composition,
    CurvePoint,
    Estimate,
    MetricValue,
    RiskInfo,
    RiskMeasure,
    RunResults,
    TrainingLog,
)
from compose.track import NullTracker, TrackSettings, make_tracker
from tests.wandb_files import recorded

OFFLINE = TrackSettings(mode="offline")
FIRST = {("toxicity", 0, 0): 0.5, ("toxicity", 0, 8): 0.75, ("bias", 0, 8): 0.25, ("toxicity", 1, 4): 0.625}
SECOND = {("toxicity", 0, 0): 0.125, ("toxicity", 0, 8): 1.0}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a developer's own key, mode and home out of the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def follow(folder: Path, name: str, points: Mapping[tuple[str, int, int], float]) -> None:
    """Track one run of one arm."""
    tracker = make_tracker(OFFLINE, folder)
    tracker.start(name, "two_risk", {"seed": 0})
    for (risk, stage, step), safety in points.items():
        tracker.log_curve(risk, "sequential-a-b", stage, step, safety)
    tracker.finish()


def test_two_runs_of_one_process_are_two_files_and_every_point_of_every_curve_is_in_its_own(tmp_path: Path) -> None:
    follow(tmp_path, "first", FIRST)
    follow(tmp_path, "second", SECOND)

    runs = recorded(tmp_path)

    assert set(runs) == {"first", "second"}
    for name, points in (("first", FIRST), ("second", SECOND)):
        assert runs[name].group == "two_risk"
        for risk in ("toxicity", "bias"):
            expected = {(stage, step): value for (of, stage, step), value in points.items() if of == risk}
            assert runs[name].curve(f"safety/{risk}/sequential-a-b") == expected


def test_a_run_that_was_not_finished_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    left = make_tracker(OFFLINE, tmp_path)
    left.start("left", "group", {})
    follow(tmp_path, "next", SECOND)
    left.finish()

    assert recorded(tmp_path)["next"].curve("safety/toxicity/sequential-a-b") == {(0, 0): 0.125, (0, 8): 1.0}


def test_curves_are_drawn_over_their_own_axis_of_steps_laid_end_to_end(tmp_path: Path) -> None:
    follow(tmp_path, "first", FIRST)

    run = recorded(tmp_path)["first"]

    assert run.axes["safety/toxicity/sequential-a-b"] == "at/steps"
    # Stage 0 is 8 steps long, so step 4 of stage 1 is at 8 + 4.
    assert [row["at/steps"] for row in run.rows] == [0, 8, 8, 12]


def test_a_finished_run_leaves_matrix_losses_and_patch(
    tmp_path: Path, results: RunResults, patch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = make_tracker(OFFLINE, tmp_path / "wandb")
    tracker.start("run", "group", {"seed": 0})
    track.log_results(tracker, results, {"sequential-a-b": patch})
    tracker.finish()
    assert [one.message for one in caplog.records if one.levelno >= logging.WARNING] == []

    run = recorded(tmp_path / "wandb")["run"]
    assert run.curve("safety/toxicity/sequential-a-b") == {(0, 0): 0.5, (0, 4): 0.75}
    assert [
        row["stage_end/toxicity/sequential-a-b"] for row in run.rows if "at/step" not in row and "at/stage" in row
    ] == [0.75]
    shown = next(row for row in run.rows if "R/sequential-a-b/table.ncols" in row)
    assert (shown["R/sequential-a-b/table.ncols"], shown["R/sequential-a-b/table.nrows"]) == (2, 1)
    assert shown["R/sequential-a-b/heat_map._type"] == "image-file"
    losses = {row["train/a/sft/step"]: row["train/a/sft/loss"] for row in run.rows if "train/a/sft/loss" in row}
    assert losses == {0: 2.0, 10: 1.0}
    assert ("sequential-a-b", ["patch.json"]) in run.artifacts
    final = {key: value for key, value in run.summary.items() if key.startswith("final")}
    assert final == {"final/base/toxicity/rate": 0.5, "final/patched/toxicity/rate": 0.25}


def test_offline_is_the_default_and_a_key_means_online(monkeypatch: pytest.MonkeyPatch) -> None:
    assert track._mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert track._mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert track._mode("auto") == "disabled"


def test_a_network_that_is_forbidden_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    assert (track._mode("auto"), track._mode("online")) == ("offline", "offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert track._mode("auto") == "disabled"


def test_online_without_a_key_is_offline_with_a_warning_and_asks_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert track._mode("online") == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert track._mode("auto") == "offline"
    assert "wandb login" in caplog.text


def test_without_wandb_or_with_tracking_off_nothing_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_tracker(TrackSettings(to="nothing"), tmp_path), NullTracker)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(make_tracker(OFFLINE, tmp_path), NullTracker)
    with track.tracking(OFFLINE, tmp_path, name="run", group="group", config={}) as tracker:
        tracker.log_curve("toxicity", "arm", 0, 0, 0.5)
        tracker.log_matrix("arm", [[0.5]], ["toxicity"])
        tracker.log_training("arm", "sft", 0, {"loss": 1.0})
        tracker.log_patch(tmp_path, "arm")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_means_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, modes = wandb.init, []

    def init(**keys: Any) -> Any:
        modes.append(keys["mode"])
        if keys["mode"] == "online":
            raise wandb.errors.CommError("no route to host")
        return real(**keys)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    tracker = make_tracker(TrackSettings(), tmp_path)
    tracker.start("run", "group", {})
    tracker.log_curve("toxicity", "arm", 0, 0, 0.5)
    tracker.finish()

    assert modes == ["online", "offline"]
    assert recorded(tmp_path)["run"].curve("safety/toxicity/arm") == {(0, 0): 0.5}


@pytest.mark.parametrize(
    "error", [wandb.Error("broken"), ConnectionResetError("gone"), RuntimeError("dead"), Exception("any")]
)
def test_a_tracker_that_fails_warns_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", fail)
    with (
        caplog.at_level(logging.WARNING),
        track.tracking(OFFLINE, tmp_path, name="run", group="group", config={}) as tracker,
    ):
        tracker.log_curve("toxicity", "arm", 0, 0, 0.5)
        tracker.log_curve("toxicity", "arm", 0, 1, 0.5)

    assert [record.message for record in caplog.records if "tracking failed" in record.message] == [
        f"tracking failed and is off for the rest of this run: {type(error).__name__}: {error}"
    ]


def test_an_error_in_the_run_itself_passes_through_and_the_tracked_run_ends(tmp_path: Path) -> None:
    def work() -> None:
        with track.tracking(OFFLINE, tmp_path, name="run", group="group", config={}):
            raise KeyError("the run's own")

    with pytest.raises(KeyError):
        work()
    assert recorded(tmp_path)["run"].finished


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    """Return a patch folder, as far as a tracker looks into it."""
    folder = tmp_path / "patch"
    folder.mkdir()
    (folder / "patch.json").write_text("{}")
    return folder


@pytest.fixture
def results() -> RunResults:
    """Return a run of one risk and one arm."""

    def measured(safety: float) -> dict[str, RiskMeasure]:
        metrics = {"rate": MetricValue(value=1 - safety, direction="lower", n=1)}
        metrics["gld"] = MetricValue(value=None, direction="lower", n=0)
        return {"toxicity": RiskMeasure(metrics=metrics, safety=(safety,), prompt_ids=("a",))}

    base = Composition(label="base", kind="base", tokens=0, patch=None, risks=measured(0.5))
    patched = Composition(label="patched", kind="trained", tokens=2, patch="sha256:0", risks=measured(0.75))
    arm = ArmResult(
        name="sequential-a-b",
        label="sequential",
        strategy="sequential",
        order=("toxicity",),
        stages=("patched",),
        R=((0.75,),),
        retention={},
        worst_risk_retention=Estimate(value=None, reason="no specialist"),
    )
    return RunResults(
        experiment="one_risk",
        seed=0,
        command="",
        settings={},
        commit="",
        dirty=False,
        machine={},
        versions={},
        started="",
        finished="",
        seconds={},
        base=BaseInfo(name="tiny", fingerprint="sha256:0"),
        risks=(
            RiskInfo(
                name="toxicity",
                headline="rate",
                direction="lower",
                judge="j",
                judge_version="1",
                n_test=1,
                k=1,
                prompts="",
            ),
        ),
        compositions={"base": base, "patched": patched},
        arms=(arm,),
        curves=(
            CurvePoint(arm=arm.name, stage=0, step=4, risk="toxicity", safety=0.75, n=1),
            CurvePoint(arm=arm.name, stage=0, step=0, risk="toxicity", safety=0.5, n=1),
        ),
        training=(
            TrainingLog(composition="a", phase="sft", rows=({"step": 0, "loss": 2.0}, {"step": 10, "loss": 1.0})),
        ),
    )
