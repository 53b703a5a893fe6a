"""TRL's trainers with what soft prefixes need: pairs in a given order, given reference scores, no unsafe option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from datasets import Dataset
from torch.utils.data import Sampler, SequentialSampler
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from compose.errors import Rejected
from compose.training.anchors import Anchor
from compose.training.model import SharedScoringModel
from compose.training.pairs import Pair
from compose.training.settings import TrainSettings


def refuse_unsafe(config: SFTConfig | DPOConfig) -> None:
    """Refuse trainer options that are silently wrong with a soft prefix.

    Packing and padding-free batches put several documents in one row; PEFT drops their positions and puts the prefix
    once before the row, not before each document.

    Raises:
        Rejected: When one of them is on, or weight decay would move frozen rows.
    """
    for option in ("packing", "padding_free"):
        if getattr(config, option, False):
            raise Rejected(
                "training-unsafe",
                subject=f"trainer option {option}",
                expected=f"{option}=False",
                got=f"{option}=True",
                fix="leave it off: the patch would stand before the first document of a row only",
            )
    if config.weight_decay:
        raise Rejected(
            "training-unsafe",
            subject="trainer option weight_decay",
            expected="weight_decay=0",
            got=f"weight_decay={config.weight_decay}",
            fix="leave it at 0: decay moves frozen segments and pulls a prefix towards the zero vector",
        )


Config = TypeVar("Config", SFTConfig, DPOConfig)


class _InGivenOrder:
    """Takes examples as they come: replay decides which pairs share a batch."""

    train_dataset: Dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


@dataclass(frozen=True)
class Anchoring:
    """What every loss is joined by: `weight` times the divergence from the base on the next `rows` anchors.

    Args:
        anchors: All of them.
        weight: What the divergence counts in the loss.
        rows: Anchors a step, over all processes that train together.
    """

    anchors: Sequence[Anchor]
    weight: float
    rows: int

    def of_step(self, step: int, process: int, processes: int) -> list[Anchor]:
        """Return the share of one process in one step's anchors: all anchors in turn, and again from the first."""
        share = self.rows // processes
        first = step * self.rows + process * share
        return [self.anchors[(first + place) % len(self.anchors)] for place in range(share)]


class _Anchored:
    """Adds the divergence from the base on anchors to whatever the trainer's loss is."""

    anchoring: Anchoring | None = None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Return the trainer's loss, joined by the anchors', and its outputs when they are wanted."""
        trainer: Any = super()
        this: Any = self
        state = this.accelerator
        patched = state.unwrap_model(model)
        if self.anchoring is not None:
            step = this.state.global_step
            patched.anchors = self.anchoring.of_step(step, state.process_index, state.num_processes)
        # Outputs are asked for only when the caller wants them: TRL's DPO runs the model once more to give them.
        result = trainer.compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        if self.anchoring is None:
            return result
        divergence = patched.anchor_divergence
        this._metrics["train"]["anchor_kl"].append(float(divergence.detach()))
        added = self.anchoring.weight * divergence
        return (result[0] + added, result[1]) if return_outputs else result + added


class PatchSFTTrainer(_InGivenOrder, _Anchored, SFTTrainer):  # type: ignore[misc]  # trl ships no types
    """SFT on the reference's completions, in the given order."""

    def __init__(self, model: SharedScoringModel, args: SFTConfig, **kwargs: Any) -> None:
        refuse_unsafe(args)
        super().__init__(model=model, args=args, **kwargs)


class PatchDPOTrainer(_InGivenOrder, _Anchored, DPOTrainer):  # type: ignore[misc]  # trl ships no types
    """DPO on tokenised pairs that carry their reference log-probabilities.

    TRL, given an already wrapped model, would take a copy of the current patch as the reference; here the reference
    was chosen, and scored, before.
    """

    def __init__(self, model: SharedScoringModel, args: DPOConfig, **kwargs: Any) -> None:
        refuse_unsafe(args)
        # Naming the base as reference model only keeps TRL from cloning the patch; it is never run.
        super().__init__(model=model, ref_model=model.get_base_model(), args=args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def sft_dataset(pairs: Sequence[Pair]) -> Dataset:
    """Return prompt + chosen token ids with labels on the completion."""
    return Dataset.from_list(
        [
            {
                "input_ids": [*pair.prompt_ids, *pair.chosen_ids],
                "labels": [-100] * len(pair.prompt_ids) + list(pair.chosen_ids),
            }
            for pair in pairs
        ]
    )


def dpo_dataset(pairs: Sequence[Pair], reference: Sequence[tuple[float, float]]) -> Dataset:
    """Return token ids of both completions and their summed log-probabilities under DPO's reference."""
    return Dataset.from_list(
        [
            {
                "prompt_ids": list(pair.prompt_ids),
                "chosen_ids": list(pair.chosen_ids),
                "rejected_ids": list(pair.rejected_ids),
                "ref_chosen_logps": chosen,
                "ref_rejected_logps": rejected,
            }
            for pair, (chosen, rejected) in zip(pairs, reference, strict=True)
        ]
    )


def trainer_arguments(
    settings: TrainSettings, steps: int, rate: float, seed: int, folder: Path, device: torch.device
) -> dict[str, Any]:
    """Return the arguments both trainers share; `device` is the base's, which the trainer must not move."""
    cuda = device.type == "cuda"
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": settings.batch_size // PartialState(cpu=not cuda).num_processes,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(settings.warmup * steps),
        "weight_decay": 0.0,
        "max_grad_norm": settings.max_grad_norm,
        "activation_checkpointing": False,
        "bf16": settings.precision == "bfloat16",
        "use_cpu": not cuda,
        "max_length": None,
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
    }


def sft_config(settings: TrainSettings, seed: int, folder: Path, device: torch.device) -> SFTConfig:
    """Return TRL's SFT configuration of these settings."""
    return _one_gpu(SFTConfig(**trainer_arguments(settings, settings.sft_steps, settings.sft_lr, seed, folder, device)))


def dpo_config(settings: TrainSettings, seed: int, folder: Path, device: torch.device) -> DPOConfig:
    """Return TRL's DPO configuration of these settings; the added SFT term is TRL's multi-loss."""
    extra: dict[str, Any] = {}
    if settings.dpo_sft_weight:
        extra = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings.dpo_sft_weight]}
    arguments = trainer_arguments(settings, settings.dpo_steps, settings.dpo_lr, seed, folder, device)
    return _one_gpu(DPOConfig(beta=settings.beta, precompute_ref_log_probs=True, **extra, **arguments))


def _one_gpu(config: Config) -> Config:
    """Keep transformers from wrapping the model in DataParallel where one process sees several GPUs."""
    if config.n_gpu > 1:
        config._n_gpu = 1
    return config


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Calls back after every optimiser step with its number."""

    def __init__(self, on_step: Any) -> None:
        self.on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the step that has just ended."""
        self.on_step(state.global_step)
