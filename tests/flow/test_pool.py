"""Patches of several seeds as one line: the mean of their numbers, on the prompts that all have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.cli import main
from compose.evaluate.suites.record import read_record
from experiments import pool

QUICK = ("risks.professions.n_train=20", "risks.professions.n_test=12", "risks.professions.sampling.max_new_tokens=4")


def evaluated(runs: Path, patches: list[Path], capsys: pytest.CaptureFixture[str]) -> Path:
    named = [word for patch in patches for word in ("--patch", str(patch))]
    assert main(["evaluate", "--model", "tiny", *named, "--suite", "gender_bias", "--runs", str(runs), *QUICK]) == 0
    return Path(capsys.readouterr().out.splitlines()[-1].removeprefix("record:").strip())


def test_two_seeds_are_pooled_into_their_mean(
    patch_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluated(tmp_path / "runs", [patch_folder("a", seed=1), patch_folder("b", seed=2)], capsys)
    file = tmp_path / "pooled.json"
    assert pool.main([str(folder), "--json", str(file)]) == 0

    (found,) = json.loads(file.read_text())["pooled"]
    gas = {n.composition: n.value for n in read_record(folder).numbers if n.metric == "gas" and not n.group}
    mean = (gas["a"] + gas["b"]) / 2  # type: ignore[operator]

    assert found["seeds"] == 2
    assert found["base"]["value"] == pytest.approx(gas["base"])
    assert found["patched"]["value"] == pytest.approx(mean)
    assert found["difference"]["value"] == pytest.approx(mean - gas["base"])  # type: ignore[operator]
    assert "| Professions, GAS | gendered_words |" in capsys.readouterr().out


def test_one_patch_is_no_set_of_seeds(
    patch_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluated(tmp_path / "runs", [patch_folder("a")], capsys)

    assert pool.main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-differ")
