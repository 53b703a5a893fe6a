"""Costs beside LoRA on the tiny base: what is counted can be counted by hand; what is timed is for a quiet machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compose.base import load_base
from experiments import cost

SMALL = ("--model", "tiny", "--rounds", "1", "--steps", "1", "--batch", "2", "--new-tokens", "3", "--tokens", "3")


def test_a_download_is_bits_over_the_line() -> None:
    assert cost.download_seconds(12_500_000) == 1.0


def test_the_program_measures_every_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cost.json"
    assert cost.main([*SMALL, "--json", str(file)]) == 0

    written = json.loads(file.read_text())
    found = {one["variant"]: one for one in written["costs"]}
    dim = load_base("tiny", device="cpu").model.get_input_embeddings().weight.shape[1]

    assert list(found) == ["patch", "LoRA r1", "LoRA r16"]
    assert found["patch"]["parameters"] == 3 * dim
    assert found["LoRA r16"]["parameters"] == 16 * found["LoRA r1"]["parameters"]  # both matrices grow with the rank
    assert found["patch"]["artifact_bytes"] > 4 * 3 * dim
    assert found["patch"]["training"] == [1.0, 1.0, 1.0]
    assert {"commit", "machine", "versions", "base_fingerprint"} <= set(written["about"])
    printed = capsys.readouterr()
    times = found["LoRA r16"]["parameters"] / (3 * dim)
    assert f"| LoRA r16 | {found['LoRA r16']['parameters']:,} ({times:.1f}) |" in printed.out
    assert "train: 3/3 turn" in printed.err


def test_an_interrupted_measurement_goes_on_behind_its_last_whole_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cost.json"
    words = [*SMALL, "--rounds", "2", "--json", str(file)]
    real, trained = cost._train, []

    def stopped(*given: Any) -> tuple[int, int]:
        trained.append(given)
        if len(trained) == 5:  # the second round's second variant
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(cost, "_train", stopped)
    assert cost.main(words) == 130
    (kept,) = json.loads(file.read_text())["rounds"]["train"]
    assert cost.main(words) == 0

    assert len(trained) == 5 + 3
    assert json.loads(file.read_text())["rounds"]["train"][0] == kept
    first = capsys.readouterr().out
    assert cost.main(words) == 0  # all is there: shown again, nothing measured
    assert len(trained) == 5 + 3
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("begun", ["{}", "no JSON", None])
def test_a_file_of_another_measurement_is_left_alone(
    begun: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cost.json"
    if begun is None:
        assert cost.main([*SMALL, "--tokens", "4", "--json", str(file)]) == 0
    else:
        file.write_text(begun)
    before = file.read_text()

    assert cost.main([*SMALL, "--json", str(file)]) == 2
    assert capsys.readouterr().err.splitlines()[-4].startswith("already-exists")
    assert file.read_text() == before


def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--model", "tiny", "--rounds", "0"]) == 2
    assert capsys.readouterr().err.startswith("settings-invalid")
