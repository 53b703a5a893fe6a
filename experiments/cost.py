"""What does a patch cost beside LoRA? Parameters, training, inference and download, as ratios from one run.

    python -m experiments.cost --json experiments/results/cost_cpu.json
    python -m experiments.cost --model llama2_7b_shape --json cost.json      # on a GPU

Training: DPO steps on the same random pairs, each variant in the fastest form that this package has for it. Inference:
a batch behind the patch by our engine against the base by it, and an adapter that is not merged against the base, both
by transformers. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from peft import LoraConfig, TaskType, get_peft_model

from compose import artifact, durable
from compose.artifact import new_patch
from compose.base import Base, load_base
from compose.engine import Sampling
from compose.errors import exit_status
from compose.laboratory.realise import base_reference
from compose.records import CardDraft
from compose.training.lora import LoraSettings, train_lora
from compose.training.pairs import Pair
from compose.training.settings import TrainSettings
from compose.training.stage import OnStep, Phase, train_stage
from experiments.bench.__main__ import about, quiet
from experiments.bench.clock import Turn, interleave, median, now, ratio, repeated
from experiments.bench.inference import generation_turn, stock_call
from experiments.bench.inputs import random_pairs, random_prefix
from experiments.bench.settings import BenchSettings

RANKS = (1, 16)
PATCH, OUR_BASE, STOCK_BASE = "patch", "base, ours", "base, transformers"
MEGABITS_PER_SECOND = 100


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


def costs(base: Base, settings: BenchSettings) -> list[Cost]:
    """Return the patch and the adapters, each measured in turns with the others."""
    names = {PATCH: 0} | {f"LoRA r{rank}": rank for rank in RANKS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        turns = {name: _training_turn(base, settings, rank) for name, rank in names.items()}
        steps = interleave(turns, settings.rounds, "train")
        sizes = {name: _size(base, settings, rank, folder) for name, rank in names.items()}
    generated = interleave(_generation_turns(base, settings, names), settings.rounds, "generate")
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


def _training_turn(base: Base, settings: BenchSettings, rank: int) -> Turn:
    """Return a turn of a warm-up step and some timed steps, of LoRA or (rank 0) of a patch."""
    pairs = _pairs(base, settings, (settings.steps + 1) * settings.batch)

    def turn() -> list[float]:
        ends: list[float] = []

        def on_step(_: Phase, __: int) -> None:
            ends.append(now(base.model.device))

        with tempfile.TemporaryDirectory() as scratch:
            _train(base, settings, rank, pairs, Path(scratch) / "out", on_step)
        return [end - start for start, end in pairwise(ends)]

    return turn


def _train(
    base: Base, settings: BenchSettings, rank: int, pairs: Sequence[Pair], out: Path, on_step: OnStep | None = None
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
    card = CardDraft(name="cost", risks=(), base=base_reference(base), strategy="specialist")
    artifact.save(new_patch(prefix, card), out / "patch")
    shipped = sum(path.stat().st_size for path in (out / "patch").iterdir())
    return prefix.numel(), shipped


def _size(base: Base, settings: BenchSettings, rank: int, folder: Path) -> tuple[int, int]:
    """Return the numbers that are trained and the bytes of what is shipped, from a training of one step."""
    return _train(base, settings, rank, _pairs(base, settings, settings.batch), folder / f"rank{rank}")


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
    """Return the costs as Markdown; the base's own download is the last line."""
    lines = ["| | parameters | DPO step | of a patch's | generation, of the base's | artifact | download at 100 Mbps |"]
    lines.append("|---|---|---|---|---|---|---|")
    for one in found:
        cells = [one.variant, f"{one.parameters:,}", f"{one.step_seconds:.2f} s", _times(one.training)]
        cells += [
            _times(one.inference),
            f"{one.artifact_bytes / 1e6:.2f} MB",
            f"{download_seconds(one.artifact_bytes):.3f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| the base | | | | | {base_bytes / 1e6:.0f} MB | {download_seconds(base_bytes):.1f} s |")
    return "\n".join(lines)


def _times(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _run(model: str, rounds: int, tokens: int, json: Path | None) -> None:
    quiet()
    base = load_base(model)
    settings = BenchSettings(model=model, tokens=(tokens,), rounds=rounds)
    base_bytes = sum(one.numel() * one.element_size() for one in base.model.parameters())
    found = costs(base, settings)
    print(table(found, base_bytes))
    if json is not None:
        values = {"about": about(base), "settings": asdict(settings), "base_bytes": base_bytes}
        durable.write_json(json, values | {"costs": [asdict(one) for one in found]})
        print(f"numbers: {json}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for a base that cannot be loaded, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cost", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2", help="a name of conf/model/ (default: smollm2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every variant (default: 3)")
    parser.add_argument("--tokens", type=int, default=50, help="rows of the patch (default: 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    given = parser.parse_args(argv)
    return exit_status(lambda: _run(given.model, given.rounds, given.tokens, given.json))


if __name__ == "__main__":
    sys.exit(main())
