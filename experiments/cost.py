"""What does a patch cost beside LoRA? Parameters, training, inference and download, as ratios from one run.

    python -m experiments.cost --json experiments/results/cost_cpu.json
    python -m experiments.cost --json cost.json --batch 4 --steps 2 --new-tokens 20     # minutes on one core
    python -m experiments.cost --model llama2_7b_shape --json cost.json                 # on a GPU

Training: DPO steps on the same random pairs, each variant in the fastest form that this package has for it. Inference:
a batch behind the patch by our engine against the base by it, and an adapter that is not merged against the base, both
by transformers. Nothing else may run meanwhile. The file grows round by round: repeated after an interruption, the
command goes on behind the last whole round.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from peft import LoraConfig, TaskType, get_peft_model
from pydantic import TypeAdapter

from compose import durable
from compose.base import Base, load_base
from compose.engine import Sampling
from compose.errors import Rejected, exit_status
from compose.training.lora import LoraSettings, train_lora
from compose.training.pairs import Pair
from compose.training.settings import TrainSettings
from compose.training.stage import OnStep, Phase, train_stage
from compose.validated import validated
from experiments.bench.__main__ import about, quiet
from experiments.bench.clock import Turn, each_round, median, now, ratio, repeated
from experiments.bench.inference import generation_turn, stock_call
from experiments.bench.inputs import random_pairs, random_prefix, saved_patch
from experiments.bench.settings import BenchSettings

RANKS = (1, 16)
PATCH, OUR_BASE, STOCK_BASE = "patch", "base, ours", "base, transformers"
MEGABITS_PER_SECOND = 100
Rounds = dict[str, list[list[float]]]
"""By variant, the seconds of each of its turns."""


@dataclass(frozen=True)
class Cost:
    """One variant.

    Attributes:
        variant: The patch, or LoRA of a rank.
        parameters: Numbers that are trained.
        step_seconds: One DPO step.
        training: step_seconds as a multiple of the patch's, with the lowest and highest round.
        inference: Generation as a multiple of the unpatched base's, likewise.
        artifact_bytes: What is shipped.
    """

    variant: str
    parameters: int
    step_seconds: float
    training: tuple[float, float, float]
    inference: tuple[float, float, float]
    artifact_bytes: int


def download_seconds(size: int) -> float:
    """Return how long so many bytes take at 100 megabits a second, the paper's line."""
    return size * 8 / (MEGABITS_PER_SECOND * 1e6)


class Ledger:
    """What was measured so far, kept in a file after every round."""

    def __init__(self, file: Path | None, about: Mapping[str, Any], settings: BenchSettings) -> None:
        """Take over what the file holds.

        Args:
            file: Where everything is kept; None keeps nothing.
            about: Machine, code, versions and base.
            settings: What is measured.

        Raises:
            Rejected: `already-exists` when the file holds something else, or was measured elsewhere.
        """
        self.file = file
        self.values: dict[str, Any] = {
            "about": dict(about),
            "settings": TypeAdapter(BenchSettings).dump_python(settings, mode="json"),
        }
        self.values |= {"rounds": {}, "sizes": {}}
        if file is not None and file.is_file():
            self.values |= self._taken_over(file)

    def _taken_over(self, file: Path) -> dict[str, Any]:
        """Return the rounds and sizes of the same measurement, begun before."""
        try:
            values = json.loads(file.read_bytes())
            differ = [key for key in ("settings", "about") if _steady(values[key]) != _steady(self.values[key])]
            found = {key: values[key] for key in ("rounds", "sizes")}
        except (ValueError, KeyError, TypeError):
            differ = ["the file"]
        if differ:
            raise Rejected(
                "already-exists",
                subject=str(file),
                expected="no file, or one of this measurement on this machine and commit",
                got=f"{' and '.join(differ)} of another one",
                fix="name another file, or remove this one",
            )
        return found

    def rounds(self, part: str, rounds: int, turns: Callable[[], Mapping[str, Turn]]) -> Rounds:
        """Return the seconds of every variant's turns, those that are missing measured now."""
        found = self.values["rounds"].setdefault(part, [])
        if len(found) < rounds:
            for one in each_round(turns(), rounds - len(found), part):
                found.append(one)
                self.write()
        return {name: [one[name] for one in found] for name in found[0]}

    def write(self, **more: object) -> None:
        """Write everything down, and `more` with it."""
        if self.file is not None:
            durable.write_json(self.file, self.values | more)


def _steady(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two halves of one measurement have in common: all but the time."""
    return {key: value for key, value in values.items() if key != "measured"}


def costs(base: Base, settings: BenchSettings, ledger: Ledger) -> list[Cost]:
    """Return the patch and the adapters, each measured in turns with the others."""
    names = {PATCH: 0} | {f"LoRA r{rank}": rank for rank in RANKS}
    sizes: dict[str, tuple[int, int]] = ledger.values["sizes"]
    steps = ledger.rounds(
        "train",
        settings.rounds,
        lambda: {name: _training_turn(base, settings, name, names[name], sizes) for name in names},
    )
    generated = ledger.rounds("generate", settings.rounds, lambda: _generation_turns(base, settings, names))
    return [
        Cost(
            variant=name,
            parameters=sizes[name][0],
            step_seconds=median(steps[name]),
            training=ratio(steps[name], steps[PATCH]),
            inference=ratio(generated[name], generated[STOCK_BASE if rank else OUR_BASE]),
            artifact_bytes=sizes[name][1],
        )
        for name, rank in names.items()
    ]


def _training_turn(
    base: Base, settings: BenchSettings, name: str, rank: int, sizes: dict[str, tuple[int, int]]
) -> Turn:
    """Return a turn of a warm-up step and some timed steps, of LoRA or (rank 0) of a patch; it notes its size."""
    pairs = _pairs(base, settings, (settings.steps + 1) * settings.batch)

    def turn() -> list[float]:
        ends: list[float] = []

        def on_step(_: Phase, __: int) -> None:
            ends.append(now(base.model.device))

        with tempfile.TemporaryDirectory() as scratch:
            sizes[name] = _train(base, settings, rank, pairs, Path(scratch) / "out", on_step)
        return [end - start for start, end in pairwise(ends)]

    return turn


def _train(
    base: Base, settings: BenchSettings, rank: int, pairs: Sequence[Pair], out: Path, on_step: OnStep
) -> tuple[int, int]:
    """Train on the pairs once; return the numbers that were trained, and the bytes of what is shipped."""
    steps = len(pairs) // settings.batch
    how = TrainSettings(phases="dpo", dpo_steps=steps, batch_size=settings.batch, anchor_weight=0.0, snapshots=0)
    if rank:
        lora = train_lora(
            base, pairs, how, rank=rank, seed=settings.seed, out=out, lora=LoraSettings(), on_step=on_step
        )
        return lora.facts.parameters, lora.facts.artifact_bytes
    start = random_prefix(base, settings.tokens[0], settings.seed)
    prefix = train_stage(base, start, pairs, how, seed=settings.seed, folder=out / "stage", on_step=on_step).prefix
    files = saved_patch(base, prefix, out / "patch").iterdir()
    return prefix.numel(), sum(path.stat().st_size for path in files)


def _pairs(base: Base, settings: BenchSettings, count: int) -> list[Pair]:
    """Return random pairs as training takes them."""
    sampling = Sampling(max_new_tokens=settings.completion)
    return [
        Pair(
            risk="cost", prompt_id=str(place), prompt_ids=one.prompt, chosen_ids=one.chosen, rejected_ids=one.rejected,
            prompt="", chosen="", rejected="", chosen_score=0.0, rejected_score=1.0, judge="", reference="",
            sampling=sampling, reference_sampling=sampling, seed=settings.seed,
        )
        for place, one in enumerate(random_pairs(base, settings, count))
    ]  # fmt: skip


def _generation_turns(base: Base, settings: BenchSettings, names: Mapping[str, int]) -> dict[str, Turn]:
    """Return turns of generation: both bases, the patch in our engine, adapters in transformers, not merged."""
    tokens, device = settings.tokens[0], base.model.device
    turns = {
        OUR_BASE: generation_turn(base, settings, "base, ours", tokens),
        PATCH: generation_turn(base, settings, "patched, ours", tokens),
        STOCK_BASE: generation_turn(base, settings, "base, transformers", tokens),
    }
    for name, rank in names.items():
        if rank:
            config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=rank, target_modules="all-linear")
            adapted = get_peft_model(copy.deepcopy(base.model), config).eval()
            turns[name] = repeated(stock_call(base, settings, adapted), settings.steps, device)
    return turns


def table(found: Sequence[Cost], base_bytes: int) -> str:
    """Return the costs as Markdown, in brackets multiples of the patch's; the base's own download is the last line."""
    patch = found[0]
    heads = ["", "parameters", "DPO step", "of a patch's", "generation, of the base's", "artifact"]
    lines = [[*heads, f"download at {MEGABITS_PER_SECOND} Mbps"], ["---"] * (len(heads) + 1)]
    for one in found:
        lines.append(
            [
                one.variant,
                f"{one.parameters:,} ({one.parameters / patch.parameters:.1f})",
                f"{one.step_seconds:.2f} s",
                _times(one.training),
                _times(one.inference),
                *_shipped(one.artifact_bytes, patch),
            ]
        )
    lines.append(["the base", *[""] * 4, *_shipped(base_bytes, patch)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _times(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _shipped(size: int, patch: Cost) -> tuple[str, str]:
    """Return a size as a multiple of the patch's, and how long it takes to download."""
    return f"{size / 1e6:.2f} MB ({size / patch.artifact_bytes:.1f})", f"{download_seconds(size):.3f} s"


def _run(settings: BenchSettings, file: Path | None) -> None:
    quiet()
    base = load_base(settings.model)
    ledger = Ledger(file, about(base), settings)
    base_bytes = sum(one.numel() * one.element_size() for one in base.model.parameters())
    found = costs(base, settings, ledger)
    print(table(found, base_bytes))
    ledger.write(base_bytes=base_bytes, costs=[asdict(one) for one in found])
    if file is not None:
        print(f"numbers: {file}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for a base that cannot be loaded or a file of something else, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cost", description=__doc__.split("\n")[0])
    usual = BenchSettings()
    parser.add_argument("--model", default=usual.model, help=f"a name of conf/model/ (default: {usual.model})")
    parser.add_argument("--tokens", type=int, default=50, help="rows of the patch (default: 50)")
    for name, what in (
        ("rounds", "turns of every variant"),
        ("steps", "timed training steps, or batches generated, in a turn"),
        ("batch", "pairs, or prompts, in a batch"),
        ("new-tokens", "tokens that are generated for every prompt"),
    ):
        default = getattr(usual, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers, round by round")
    given = vars(parser.parse_args(argv))
    file, tokens = given.pop("json"), given.pop("tokens")
    return exit_status(
        lambda: _run(
            validated(BenchSettings, given | {"tokens": (tokens,)}, subject="python -m experiments.cost"), file
        )
    )


if __name__ == "__main__":
    sys.exit(main())
