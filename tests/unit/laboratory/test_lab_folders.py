"""Where things lie, and what else is written down about a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compose.base import Base
from compose.laboratory import provenance
from compose.laboratory.folders import Folders


def test_jobs_of_one_root_share_stages_and_measurements_and_no_results(tmp_path: Path) -> None:
    first, second = Folders(tmp_path, "two_risk", "a"), Folders(tmp_path, "two_risk", "b")
    assert (first.stages, first.measurements, first.samples) == (second.stages, second.measurements, second.samples)
    assert first.run != second.run


def test_a_run_is_complete_once_it_is_marked(tmp_path: Path) -> None:
    folders = Folders(tmp_path, "two_risk", "a")
    assert not folders.is_complete()
    folders.mark_complete()
    assert folders.is_complete()


def test_new_code_is_a_change_and_new_results_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compose/__init__.py", "experiments/results/old.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    about = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    for words in (("init", "-q"), ("add", "."), (*about, "commit", "-qm", "all")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr("compose.__file__", str(tmp_path / "compose" / "__init__.py"))

    (tmp_path / "experiments" / "results" / "new.json").touch()
    assert provenance.commit()[1] is False
    (tmp_path / "experiments" / "new.py").touch()
    assert provenance.commit()[1] is True


def test_the_commit_is_that_of_the_checkout_or_unknown() -> None:
    commit, dirty = provenance.commit()
    assert commit == "unknown" or len(commit) == 40
    assert isinstance(dirty, bool)


def test_machine_and_versions_name_what_decides_numbers(tiny: Base) -> None:
    machine = provenance.machine(tiny)
    assert machine["cores"]
    assert (machine["device"], machine["dtype"]) == (tiny.model.device.type, "float32")
    assert provenance.versions()["torch"] == torch.__version__


def test_the_command_can_be_typed_again() -> None:
    code = "import sys; from compose.laboratory import provenance; print(provenance.command_line())"
    said = subprocess.run([sys.executable, "-c", code, "seed=1"], capture_output=True, text=True, check=True)
    assert said.stdout.strip().endswith("seed=1")
