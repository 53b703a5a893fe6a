"""The command that merges runs: a table, a report, a summary to commit; a clear error for what it cannot merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import summarise

MakeRun = Callable[..., Path]


def test_runs_of_several_seeds_become_one_report_and_one_summary(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(make_run(seed=seed, labels=("sequential",))) for seed in (0, 1)]
    summary = tmp_path / "results" / "two_risk.json"

    assert (
        summarise.main(
            [*runs, "--out", str(tmp_path / "out"), "--json", str(summary), "--table", str(tmp_path / "t.md")]
        )
        == 0
    )
    assert (tmp_path / "t.md").read_text().startswith("| Model |")

    assert json.loads(summary.read_text())["seeds"] == [0, 1]
    assert (tmp_path / "out" / "report.html").is_file()
    said = capsys.readouterr().out
    assert said.startswith("model")
    assert f"report:  {tmp_path / 'out' / 'report.html'}" in said


def test_a_folder_of_runs_stands_for_them_and_its_report_is_none_of_them(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        make_run(seed=seed, labels=("sequential",))
    for _ in range(2):  # the second time a report with a results.json of its own lies beside the runs
        assert summarise.main([str(tmp_path)]) == 0
    assert json.loads((tmp_path / "report" / "results.json").read_text())["seeds"] == [0, 1]
    assert "report.html" in capsys.readouterr().out


def test_a_folder_without_runs_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert summarise.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("results-missing")
    assert "Traceback" not in error


def test_runs_of_two_experiments_are_refused(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(make_run()), str(make_run(risks=("toxicity", "bias", "harm")))]
    assert summarise.main([*runs, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("results-differ")
    assert not (tmp_path / "out").exists()
