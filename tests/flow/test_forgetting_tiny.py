"""The forgetting experiment from its settings to its report, on the tiny base: whole, resumed, and shown again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pytest

from compose import artifact, settings
from compose.base import Base
from compose.cli import main
from compose.engine.patched import PatchedModel
from compose.errors import Rejected
from compose.laboratory import job
from compose.laboratory.folders import Folders
from compose.report.results import RunResults, read_results
from compose.report.samples import read_records
from compose.training.stage import train_stage
from compose.trust.lockfile import read_lock_file
from experiments import forgetting
from tests.wandb_files import recorded

TRAIN = "compose.laboratory.realise.train_stage"
ROOT = Path(__file__).resolve().parents[2]
ARMS = {
    "specialist-toxicity",
    "specialist-gender_bias",
    "concat-toxicity-gender_bias",
    "concat-gender_bias-toxicity",
    "mean-toxicity-gender_bias",
    "joint-toxicity-gender_bias",
    "sequential-toxicity-gender_bias",
    "sequential-replay-toxicity-gender_bias",
    "stacked-replay-toxicity-gender_bias",
}


class Run(NamedTuple):
    folders: Folders
    results: RunResults


def start(runs: Path, *overrides: str) -> Run:
    """Run one job in this process, as the command would."""
    config = settings.composed(["debug=tiny", f"runs={runs}", "device=cpu", *overrides])
    values = settings.plain(config)
    folders = Folders(runs, str(values["name"]), settings.run_key(values))
    return Run(folders, job.run_job(settings.load(config), folders, config=settings.as_yaml(values)))


def command(runs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    line = [sys.executable, "-m", "experiments.forgetting", *words, f"runs={runs}"]
    return subprocess.run(line, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COMPOSE_CACHE", str(cache))
        return start(tmp_path_factory.mktemp("runs"))


def numbers(results: RunResults) -> dict[str, Any]:
    """Return what two runs of the same settings must agree on."""
    return {
        "R": {arm.name: arm.R for arm in results.arms},
        "patches": {name: one.patch for name, one in results.compositions.items()},
        "utility": {name: one.utility for name, one in results.compositions.items()},
        "curves": results.curves,
    }


def test_the_record_holds_every_arm_and_reads_back(run: Run) -> None:
    assert read_results(run.folders.run) == run.results
    assert {arm.name for arm in run.results.arms} == ARMS
    assert set(run.results.compositions) == ARMS | {"base"}
    assert run.results.joint == "joint-toxicity-gender_bias"
    assert [risk.name for risk in run.results.risks] == ["toxicity", "gender_bias"]


def test_stages_that_arms_share_were_trained_once(run: Run) -> None:
    assert len(list(run.folders.stages.glob("*/stage.json"))) == 6


def test_every_arm_leaves_a_patch_that_passes_its_self_test(run: Run, tiny: Base) -> None:
    for name in ARMS:
        patch = artifact.load(run.folders.patches / name)
        PatchedModel(tiny, patch)
        assert patch.card.name == name
        assert "utility/perplexity" in patch.card.metrics
        assert run.results.compositions[name].patch == patch.card.prefix


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_is_two_commands_from_a_lock_of_its_very_patch(run: Run, tmp_path: Path, arm: str) -> None:
    manifest, store = str(tmp_path / "manifest.toml"), str(tmp_path / "store")
    assert main(["init", "--run", str(run.folders.run), "--arm", arm, "--out", manifest, "--store", store]) == 0
    assert main(["lock", manifest, "--store", store]) == 0

    lock = read_lock_file(tmp_path / "compose.lock")
    assert lock.result.digest == artifact.load(run.folders.patches / arm).card.prefix
    assert len(lock.patches) == (2 if arm.startswith(("concat", "mean")) else 1)
    assert "--arm ARM" in forgetting.shown(run.folders)


def test_curves_show_the_start_the_way_and_the_end_of_every_stage(run: Run) -> None:
    points = [(p.stage, p.step) for p in run.results.curves if p.arm == "stacked-replay-toxicity-gender_bias"]
    # 2 SFT and 2 DPO steps for the specialist, half as many again with a quarter replayed, and one snapshot half way
    assert sorted(set(points)) == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 3), (1, 6)]


def test_records_keep_every_completion_of_every_composition(run: Run) -> None:
    for risk in run.results.risks:
        rows = list(read_records(run.folders.run, risk.name))
        assert len(rows) == (len(ARMS) + 1) * 4 * 2
        assert {row.composition for row in rows} == ARMS | {"base"}


def test_a_second_judge_stands_beside_the_one_that_chose_the_pairs(run: Run) -> None:
    toxicity, bias = run.results.risks
    assert (toxicity.judge, toxicity.second_judge) == ("profanity", "toxicity_linear")
    assert toxicity.second_judge_version
    assert not bias.second_judge
    rows = list(read_records(run.folders.run, "toxicity"))
    for name, composition in run.results.compositions.items():
        scores: dict[str, list[float]] = {}
        for row in rows:
            if row.composition == name and row.second is not None:
                scores.setdefault(row.prompt_id, []).append(row.second)
        unsafe = [float(max(samples) >= 0.5) for samples in scores.values()]
        second = composition.risks["toxicity"].second
        assert second is not None
        assert second.metrics["toxic_rate_per_prompt"].value == pytest.approx(fmean(unsafe))
        assert ("removed_share" in second.metrics) == (name != "base")
        assert composition.risks["gender_bias"].second is None
    assert "by toxicity_linear" in run.folders.page.read_text(encoding="utf-8")


def test_the_run_says_what_it_rests_on(run: Run, tiny: Base) -> None:
    assert run.results.base.fingerprint == tiny.fingerprint
    assert run.results.settings["order"] == ["toxicity", "gender_bias"]
    assert "runs" not in run.results.settings
    assert set(run.results.pairs) == {"toxicity", "gender_bias"}
    assert set(run.results.seconds) == {"prepare", "train", "measure", "curves"}
    assert (run.folders.run / "config.yaml").is_file()
    assert run.folders.page.is_file()


def test_a_complete_run_is_shown_again_without_loading_anything_heavy(run: Run) -> None:
    code = (
        "import sys; sys.argv = ['forgetting', *sys.argv[1:]]\n"
        "from experiments import forgetting\n"
        "status = forgetting.main()\n"
        "sys.exit(status or 10 * ('torch' in sys.modules))"
    )
    words = [sys.executable, "-c", code, "debug=tiny", f"runs={run.folders.root}", "device=cpu"]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert str(run.folders.page) in shown.stdout
    assert "P(toxicity)" in shown.stdout


def test_an_interrupted_run_keeps_what_was_finished_and_ends_as_if_it_had_not_been(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return train_stage(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(TRAIN, interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    finished = list((tmp_path / "stages").glob("*/patch"))
    assert len(finished) == 3

    calls[0] = 10
    monkeypatch.setattr(TRAIN, interrupted)
    resumed = start(tmp_path)
    assert calls[0] == 13
    assert numbers(resumed.results) == numbers(run.results)


def test_ctrl_c_ends_the_command_with_130_and_it_goes_on_when_repeated(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "experiments.forgetting", "debug=tiny", "device=cpu", f"runs={tmp_path}"]
    # A shell's background job, which a test run may be, hands down that Ctrl-C is ignored; a terminal's does not.
    began = subprocess.Popen(
        line,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("stages/*/patch")) and began.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    began.send_signal(signal.SIGINT)
    _, said = began.communicate(timeout=60)
    assert began.returncode == 130
    assert said.rstrip().endswith("interrupted: what was finished is kept; the same command goes on from there")
    assert "Traceback" not in said
    assert not list(tmp_path.glob("**/.compose-tmp-*"))
    again = command(tmp_path, "debug=tiny", "device=cpu")
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.glob("tiny/*/complete"))) == 1


def test_another_job_of_the_seed_takes_over_what_they_have_in_common(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(kwargs["folder"].name)
        return train_stage(*args, **kwargs)

    monkeypatch.setattr(TRAIN, counted)
    other = start(run.folders.root, "strategy=stacked")
    assert len(trained) == 2  # without replay, and padded; the replayed one is the first job's
    assert other.folders.run != run.folders.run
    shared = set(other.results.compositions) & set(run.results.compositions)
    assert {n: other.results.compositions[n] for n in shared} == {n: run.results.compositions[n] for n in shared}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["debug=tiny", "seeed=1", "tokens=0"], "did you mean 'seed'?"),
        (["experiment=two_risks"], "two_risk"),
        (["debug=tiny", "risks.toxicity.n_test=100000"], "prompts-too-few"),
        (["debug=tiny", "--multirun", "seed=0,1", "order=[malice]"], "'malice'"),
    ],
)
def test_what_cannot_be_done_is_one_error_and_leaves_nothing(words: Sequence[str], said: str, tmp_path: Path) -> None:
    refused = command(tmp_path / "runs", *words)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.glob("runs/**/results.json"))


def test_a_sweep_runs_every_combination_and_hydra_leaves_no_folders_of_its_own(tmp_path: Path) -> None:
    few = ["risks.toxicity.n_test=2", "risks.gender_bias.n_test=2", "evaluation.curve_prompts=0"]
    swept = command(tmp_path, "debug=tiny", *few, "--multirun", "seed=0,1", "strategy=concat,mean", "device=cpu")
    assert swept.returncode == 0, swept.stderr
    runs = [read_results(path.parent) for path in tmp_path.glob("tiny/*/results.json")]
    assert sorted((one.seed, one.arms[-1].strategy) for one in runs) == [
        (0, "concat"),
        (0, "mean"),
        (1, "concat"),
        (1, "mean"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "stages", "measurements", "samples", "sweeps"}
    assert all("strategy=" in one.command for one in runs)


def test_the_offline_wandb_files_of_a_sweep_hold_every_curve_of_every_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    swept = command(
        tmp_path, "debug=tiny", "--multirun", "seed=0,1", "strategy=sequential", "tracking=offline", "device=cpu"
    )
    assert swept.returncode == 0, swept.stderr
    folders = sorted(path.parent for path in tmp_path.glob("tiny/*/results.json"))
    assert len(folders) == 2
    for folder in folders:
        (found,) = recorded(folder / "tracking").values()
        curves: dict[str, dict[tuple[int, int], float]] = {}
        for point in read_results(folder).curves:
            curves.setdefault(f"safety/{point.risk}/{point.arm}", {})[point.stage, point.step] = point.safety
        assert len(curves) == 2 * 5  # two risks; two specialists, and sequential without, with and padded replay
        assert {key: found.curve(key) for key in curves} == curves


def test_a_complete_run_whose_record_is_damaged_is_one_error_that_says_what_to_remove(run: Run, tmp_path: Path) -> None:
    folders = Folders(tmp_path, "tiny", "copy")
    folders.run.mkdir(parents=True)
    record = json.loads((run.folders.run / "results.json").read_bytes())
    record["arms"][0]["R"][0][0] = 0.123
    (folders.run / "results.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(Rejected, match="results-invalid") as caught:
        forgetting.shown(folders)
    assert f"remove {folders.run}" in caught.value.fix


def test_a_report_that_was_removed_is_made_again(run: Run, tmp_path: Path) -> None:
    folders = Folders(tmp_path, "tiny", "copy")
    shutil.copytree(run.folders.run, folders.run, ignore=shutil.ignore_patterns("report"))
    assert str(folders.page) in forgetting.shown(folders)
    assert folders.page.is_file()
