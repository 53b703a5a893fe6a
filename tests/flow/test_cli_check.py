"""compose check, as someone at a terminal meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compose.cli import main

SOUND = Path(__file__).parents[1] / "corpus" / "sound" / "proof"
AT = ["--at", "2026-11-25T12:00:00Z"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a lock, its store, keys and evidence."""
    monkeypatch.chdir(shutil.copytree(SOUND, tmp_path / "case"))
    return tmp_path / "case"


def test_what_is_proven_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "compose.lock", "--evidence", "evidence.json", *AT]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("allow: both 1.0.0, sha256:")
    assert line.endswith("proven by 1 file of evidence, 0 warnings")


def test_a_lock_alone_is_allowed_and_said_to_prove_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "compose.lock", *AT]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("nothing is proven yet, 1 warning")


def test_every_finding_has_what_was_expected_found_and_a_cure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place / "store")

    assert main(["check", "compose.lock", *AT]) == 1
    lines = capsys.readouterr().out.splitlines()

    assert [line.split(":")[0] for line in lines[:4]] == [
        "error store-missing",
        "  expected",
        "  found",
        "  fix",
    ]
    assert lines[-1].startswith("deny: both 1.0.0")
    assert "2 errors, 1 warning" in lines[-1]


def test_a_moment_that_is_none_and_a_file_given_twice_are_errors_of_input(capsys: pytest.CaptureFixture[str]) -> None:
    twice = ["--evidence", "evidence.json", "--evidence", "evidence.json"]

    assert main(["check", "compose.lock", "--at", "yesterday"]) == 2
    assert "settings-invalid: --at" in capsys.readouterr().err
    assert main(["check", "compose.lock", *twice, *AT]) == 2
    assert "the same file again" in capsys.readouterr().err
    assert main(["check", "nowhere.lock"]) == 2
    assert "lock-invalid" in capsys.readouterr().err
