"""The benchmark runs every variant of every part; what it finds is for a quiet machine to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose.errors import Rejected
from experiments.bench.__main__ import main, table
from experiments.bench.cases import PARTS
from experiments.bench.clock import median, ratio
from experiments.bench.settings import read_settings


def test_a_ratio_is_of_medians_and_its_range_is_over_rounds() -> None:
    slow, fast = [[4.0, 6.0, 5.0], [9.0, 9.0, 9.0]], [[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]]

    # All turns: the median of 4 5 6 9 9 9 is 7.5, that of 1 1 1 3 3 3 is 2. Rounds: 5 / 1 and 9 / 3.
    assert median(slow) == 7.5
    assert ratio(slow, fast) == (3.75, 3.0, 5.0)


def test_settings_are_yaml_behind_an_equals_sign() -> None:
    settings = read_settings(["tokens=[10,50]", "model=tiny", "memory=false"])

    assert (settings.tokens, settings.model, settings.memory) == ((10, 50), "tiny", False)


@pytest.mark.parametrize("word", ["token=[10]", "tokens", "rounds=0", "parts=[speed]", "tokens=["])
def test_settings_that_are_none_are_refused(word: str) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        read_settings([word])


def test_every_variant_of_every_part_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    sizes = [
        "tokens=[3]",
        "rounds=1",
        "steps=1",
        "batch=2",
        "pairs=3",
        "new_tokens=3",
        "completion=4",
        "compositions=3",
        "suite=[gender_bias,risks.professions.n_train=20,risks.professions.n_test=4]",
    ]
    parts = f"parts=[{','.join(PARTS)}]"

    assert main(["model=tiny", "device=cpu", "memory=false", f"out={out}", parts, *sizes]) == 0
    result = json.loads(out.read_text())
    measured = {(record["part"], record["variant"]) for record in result["records"]}
    assert measured == {(name, variant) for name, part in PARTS.items() for variant in part.variants}
    assert result["about"]["base"] == "tiny"
    assert all(record["seconds"] > 0 for record in result["records"])
    assert len(table(result["records"]).splitlines()) == 1 + len(result["records"])
