"""Training steps: ours and stock TRL with PEFT in its fastest sane setting, both run by TRL's own loop.

Stock gets what a careful user would give it: `peft_config` rather than a wrapped model (its reference then
needs no prefix), no gradient checkpointing (TRL's default, for less memory and more time), only completions in
the loss, and for DPO both an online and a precomputed reference.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PromptTuningConfig, TaskType
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from compose.base import Base
from compose.engine import ScoreRow, completion_logprobs, prefix_cache
from compose.training.model import SharedPrefixModel
from compose.training.trainers import PatchDPOTrainer, PatchSFTTrainer
from experiments.bench.clock import Turn, now
from experiments.bench.inputs import PairIds, random_pairs, random_prefix
from experiments.bench.settings import BenchSettings

DPO_VARIANTS = ("ours", "stock precomputed", "stock online")
SFT_VARIANTS = ("ours", "stock")


class _StockDPOTrainer(DPOTrainer):  # type: ignore[misc]  # trl ships no types
    """Stock DPO on the very tokens that ours gets; only TRL's tokenising of texts is left out."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Notes when each optimiser step ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time."""
        self.ends.append(now(self.device))


@dataclass(frozen=True)
class Subject:
    """What is trained, by whose trainer.

    Attributes:
        base: The frozen base.
        settings: Sizes of batches and texts.
        kind: "dpo" or "sft".
        variant: One of `DPO_VARIANTS` or `SFT_VARIANTS`.
        tokens: Rows of the prefix.
    """

    base: Base
    settings: BenchSettings
    kind: str
    variant: str
    tokens: int


def step_turn(subject: Subject) -> Turn:
    """Return a turn of a warm-up step and some timed steps, everything between them included."""
    settings = subject.settings
    pairs = random_pairs(subject.base, settings, (settings.steps + 1) * settings.batch)

    def turn() -> list[float]:
        _, ends = _train(subject, pairs)
        return [end - start for start, end in pairwise(ends)]

    return turn


def run_turn(subject: Subject) -> Turn:
    """Return a turn that trains once over all pairs, reference scores and preparation included."""
    pairs = random_pairs(subject.base, subject.settings, subject.settings.pairs)

    def turn() -> list[float]:
        start, ends = _train(subject, pairs)
        return [ends[-1] - start]

    return turn


def _train(subject: Subject, pairs: Sequence[PairIds]) -> tuple[float, list[float]]:
    """Train once over the pairs; return when everything began and when each step ended."""
    device = subject.base.model.device
    start = now(device)
    watch = _Stopwatch(device)
    with tempfile.TemporaryDirectory() as folder:
        _trainer(subject, pairs, Path(folder), watch).train()
    # Every trainer leaves one more wrapper of TRL's around the base's forward.
    vars(subject.base.model).pop("forward", None)
    return start, watch.ends


def _trainer(subject: Subject, pairs: Sequence[PairIds], folder: Path, watch: TrainerCallback) -> Any:
    """Return a trainer over the pairs, ready to train."""
    base, settings, tokens = subject.base, subject.settings, subject.tokens
    make: Callable[..., Any] = _dpo_trainer if subject.kind == "dpo" else _sft_trainer
    arguments = {
        "output_dir": str(folder),
        "max_steps": math.ceil(len(pairs) / settings.batch),
        "per_device_train_batch_size": settings.batch,
        "learning_rate": 1e-2,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": base.model.device.type == "cpu",
        "max_length": None,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": base.model.device.type == "cuda",
    }
    common = {"processing_class": base.tokenizer, "callbacks": [watch]}
    if subject.variant == "ours":
        model = SharedPrefixModel(base.model, random_prefix(base, tokens, settings.seed))
        trainer = make(model, arguments, pairs, common, base=base, precomputed=True)
    else:
        common["peft_config"] = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=tokens)
        precomputed = subject.variant == "stock precomputed"
        trainer = make(base.model, arguments, pairs, common, base=None, precomputed=precomputed)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dpo_trainer(
    model: Any,
    arguments: dict[str, Any],
    pairs: Sequence[PairIds],
    common: Any,
    *,
    base: Base | None,
    precomputed: bool,
) -> Any:
    """Return a DPO trainer: ours, with reference scores made here, when `base` is given."""
    columns: list[dict[str, Any]] = [
        {"prompt_ids": list(p.prompt), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected)} for p in pairs
    ]
    config = DPOConfig(beta=0.1, precompute_ref_log_probs=precomputed, **arguments)
    if base is None:
        return _StockDPOTrainer(model=model, args=config, train_dataset=Dataset.from_list(columns), **common)
    for row, (chosen, rejected) in zip(columns, _reference(base, pairs), strict=True):
        row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    return PatchDPOTrainer(model=model, args=config, train_dataset=Dataset.from_list(columns), **common)


def _sft_trainer(
    model: Any,
    arguments: dict[str, Any],
    pairs: Sequence[PairIds],
    common: Any,
    *,
    base: Base | None,
    precomputed: bool,
) -> Any:
    """Return an SFT trainer: ours when `base` is given."""
    rows = [{"input_ids": [*p.prompt, *p.chosen], "labels": [-100] * len(p.prompt) + list(p.chosen)} for p in pairs]
    trainer = SFTTrainer if base is None else PatchSFTTrainer
    return trainer(model=model, args=SFTConfig(**arguments), train_dataset=Dataset.from_list(rows), **common)


def _reference(base: Base, pairs: Sequence[PairIds]) -> list[tuple[float, float]]:
    """Return the summed log-probabilities of both completions under the unpatched base."""
    rows = [ScoreRow(p.prompt, completion) for p in pairs for completion in (p.chosen, p.rejected)]
    sums = [float(values.sum()) for values in completion_logprobs(base.model, prefix_cache(base.model, [None]), rows)]
    return list(zip(sums[::2], sums[1::2], strict=True))
