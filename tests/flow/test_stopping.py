"""The simulation of stopping early: what it counts, by hand where a hand can count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import stopping


@pytest.mark.parametrize("kind", ["one sample", "5 samples"])
def test_simulated_prompts_have_the_rate_they_are_drawn_with(kind: str) -> None:
    values = stopping.draw(kind, 0.2, np.random.default_rng(0), runs=200, prompts=200)

    assert values.mean() == pytest.approx(0.2, abs=0.01)
    assert set(np.unique(values)) <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}


def test_an_interval_read_after_every_prompt_is_wrong_once_it_ever_excluded_the_rate() -> None:
    unlucky = np.zeros((1, 40))  # 40 safe prompts in a row exclude a rate of one half from the tenth on
    fair = np.tile([0.0, 1.0], 20)[None]

    assert stopping.coverage("one sample", 0.5, unlucky).peeking == 0.0
    assert stopping.coverage("one sample", 0.5, unlucky).sequence == 0.0
    assert stopping.coverage("one sample", 0.5, fair).peeking == 1.0
    assert stopping.coverage("one sample", 0.5, fair).sequence == 1.0


def test_what_is_saved_is_what_was_not_asked() -> None:
    safe, unsafe = np.zeros((1, 200)), np.ones((1, 200))

    below = stopping.saving("one sample", 0.0, safe)
    above = stopping.saving("one sample", 1.0, unsafe)

    assert (below.settled, below.wrong, below.fixed) == (1.0, 0.0, 1.0)
    assert (above.settled, above.wrong, above.fixed) == (1.0, 0.0, 1.0)
    assert above.prompts < below.prompts < 200
    assert below.saved == pytest.approx(1 - below.prompts / 200)


def test_settling_on_the_wrong_side_is_counted() -> None:
    assert stopping.saving("one sample", 0.05, np.ones((1, 50))).wrong == 1.0


def test_the_sequence_covers_where_peeking_does_not() -> None:
    found = stopping.study(runs=300, prompts=200)

    single = [one for one in found["coverage"] if one["values"] == "one sample"]
    assert min(one["sequence"] for one in found["coverage"]) >= 0.93  # 95% less three standard errors of 300 runs
    assert max(one["peeking"] for one in single) < 0.85


def test_the_program_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stopping.json"

    assert stopping.main(["--json", str(file), "--runs", "20", "--seed", "3"]) == 0

    assert json.loads(file.read_text())["runs"] == 20
    assert "| saved |" in capsys.readouterr().out
