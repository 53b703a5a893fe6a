"""Costs beside LoRA on the tiny base: what is counted can be counted by hand; what is timed is for a quiet machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose.base import load_base
from experiments import cost


def test_a_download_is_bits_over_the_line() -> None:
    assert cost.download_seconds(12_500_000) == 1.0


def test_the_program_measures_every_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cost.json"
    assert cost.main(["--model", "tiny", "--rounds", "1", "--tokens", "3", "--json", str(file)]) == 0

    found = {one["variant"]: one for one in json.loads(file.read_text())["costs"]}
    dim = load_base("tiny", device="cpu").model.get_input_embeddings().weight.shape[1]

    assert list(found) == ["patch", "LoRA r1", "LoRA r16"]
    assert found["patch"]["parameters"] == 3 * dim
    assert found["LoRA r16"]["parameters"] == 16 * found["LoRA r1"]["parameters"]  # both matrices grow with the rank
    assert found["patch"]["artifact_bytes"] > 4 * 3 * dim
    assert found["patch"]["training"] == [1.0, 1.0, 1.0]
    assert "| LoRA r16 |" in capsys.readouterr().out
