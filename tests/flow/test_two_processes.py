"""`accelerate launch` with two CPU processes trains what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from compose.base import load_base
from compose.engine import Sampling
from compose.training.anchors import Anchor
from compose.training.pairs import Pair
from compose.training.settings import TrainSettings
from compose.training.stage import train_stage

base = load_base("tiny", device="cpu")
pairs = [
    Pair(risk="toxicity", prompt_id=str(n), prompt_ids=(20 + n, 21, 22)[: 2 + n % 2],
         chosen_ids=(30, 31 + n, 32, 33)[: 1 + n % 4], rejected_ids=(50, 51, 52)[: 1 + n % 3],
         prompt="", chosen="", rejected="", chosen_score=None, rejected_score=None, judge="", reference="",
         sampling=Sampling(), reference_sampling=Sampling(), seed=0)
    for n in range(12)
]
start = base.model.get_input_embeddings().weight[5:9].clone()
settings = TrainSettings(sft_steps=3, dpo_steps=3, batch_size=4, sft_lr=5e-2, dpo_lr=5e-2)
anchors = [Anchor((40, 41), (42, 43, 44)[: 1 + n % 3]) for n in range(5)]
train_stage(base, start, pairs, settings, seed=0, folder=Path(sys.argv[1]), anchors=anchors)
"""


def losses(folder: Path, *launcher: str) -> list[float]:
    script = folder / "train.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COMPOSE_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder / "stage")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logs = [json.loads((folder / "stage" / f"{phase}_log.json").read_bytes()) for phase in ("sft", "dpo")]
    return [entry["loss"] for log in logs for entry in log]


def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    one = losses(tmp_path / "one")
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--main_process_port", "0")
    two = losses(tmp_path / "two", *launch)
    assert len(one) == 6
    assert two == pytest.approx(one, abs=1e-4)
