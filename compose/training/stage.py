"""One training stage: SFT, DPO, or SFT then DPO of one prefix, interruptible and resumable in its folder."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from accelerate import PartialState
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from transformers import PrinterCallback

from compose import durable
from compose.base import Base
from compose.digest import of_bytes, of_json
from compose.errors import Rejected
from compose.training.anchors import Anchor
from compose.training.model import SharedPrefixModel
from compose.training.pairs import Pair
from compose.training.reference_scores import reference_scores
from compose.training.settings import TrainSettings
from compose.training.trainers import (
    Anchoring,
    PatchDPOTrainer,
    PatchSFTTrainer,
    StepCallback,
    dpo_config,
    dpo_dataset,
    sft_config,
    sft_dataset,
)

Phase = Literal["sft", "dpo"]
OnStep = Callable[[Phase, int], None]
Prefix = Float[Tensor, "tokens dim"]

OWN_FILES = (
    "stage.json",
    "sft.safetensors",
    "sft_log.json",
    "dpo.safetensors",
    "dpo_log.json",
    "snapshot-[0-9]*.safetensors",
)
"""What a stage writes beside its checkpoints; nothing else in its folder is ever touched."""


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind.

    Args:
        prefix: The trained prefix, frozen segments included, float32 on the CPU, [tokens, dim].
        snapshots: Prefixes on the way, by optimiser step of the stage (SFT steps count first).
        log: One mapping a logged step: phase, step, loss, learning_rate and TRL's metrics.
    """

    prefix: Prefix
    snapshots: dict[int, Prefix]
    log: list[dict[str, Any]]


@dataclass
class _Stage:
    """The state that the phases of one stage share."""

    base: Base
    settings: TrainSettings
    seed: int
    folder: Path
    frozen_tokens: int
    on_step: OnStep | None
    anchors: Sequence[Anchor]
    references: Path
    log: list[dict[str, Any]] = field(default_factory=list)


def train_stage(
    base: Base,
    start: Prefix,
    pairs: Sequence[Pair],
    settings: TrainSettings,
    *,
    seed: int,
    folder: Path,
    frozen: Prefix | None = None,
    anchors: Sequence[Anchor] = (),
    references: Path | None = None,
    on_step: OnStep | None = None,
) -> StageResult:
    """Return `start` trained on `pairs`, taken in the given order and again from the first when they run out.

    Args:
        base: The frozen base.
        start: The prefix to train, [tokens, dim].
        pairs: What to learn from; a pair without a rejected completion is used by SFT only.
        settings: Phases, steps and rates.
        seed: Seed of everything random in the trainers.
        folder: Where checkpoints, snapshots and results are kept; calling again with the same folder resumes. When
            one of these files turns out damaged, they are removed and the stage starts anew.
        frozen: Earlier segments [frozen_tokens, dim] that stay as they are, in front of `start`.
        anchors: Texts on which to stay near the base; they count when `settings.anchor_weight` is above 0.
        references: Where scores under DPO's reference are kept for every stage; None keeps them in `folder`.
        on_step: Called after every step with the phase and the number of steps it has done.

    Raises:
        Rejected: When no pair can be used, or training has diverged.
    """
    check_device(base)
    _clear_if_damaged(folder)
    folder.mkdir(parents=True, exist_ok=True)
    front = torch.zeros(0, start.shape[1]) if frozen is None else frozen.float().cpu()
    whole = torch.cat([front, start.float().cpu()])
    kept = references or folder / "references"
    stage = _Stage(base, settings, seed, folder, front.shape[0], on_step, anchors, kept)
    _claim(stage, whole, pairs)
    after_sft = _phase(stage, "sft", whole, pairs, reference=None) if settings.steps_of("sft") else whole
    prefix = after_sft
    if settings.steps_of("dpo"):
        reference = {"base": None, "sft": after_sft, "previous": whole}[settings.dpo_reference]
        prefix = _phase(stage, "dpo", after_sft, pairs, reference=reference)
    return StageResult(prefix, _snapshots(folder), stage.log)


def check_device(base: Base) -> None:
    """Refuse a device that the trainers would not keep: they compute on the CPU or on the first visible GPU."""
    device = base.model.device
    if device.type == "cuda" and device.index not in (None, 0) and PartialState().num_processes == 1:
        raise Rejected(
            "settings-invalid",
            subject="device",
            expected="the CPU or the first visible GPU for training",
            got=str(device),
            fix=f"make that GPU the first: CUDA_VISIBLE_DEVICES={device.index}, device=cuda",
        )


def _clear_if_damaged(folder: Path) -> None:
    """Remove a stage's own files when one of them is damaged: the stage then starts anew instead of ending in it."""
    files = [path for pattern in OWN_FILES for path in folder.glob(pattern)]
    damaged = [path.name for path in files if not _parses(path)]
    if damaged and PartialState().is_main_process:
        print(
            f"{folder}: {', '.join(sorted(damaged))} is damaged; the stage is trained from its start", file=sys.stderr
        )
        for path in files:
            path.unlink(missing_ok=True)
        for phase in get_args(Phase):
            shutil.rmtree(folder / f"{phase}_checkpoints", ignore_errors=True)
    PartialState().wait_for_everyone()


def _parses(path: Path) -> bool:
    """Return whether a file is there and is whole JSON, or whole tensors."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        else:
            load_tensors(path.read_bytes())
    except (FileNotFoundError, ValueError, SafetensorError):
        return False
    return True


def _claim(stage: _Stage, whole: Prefix, pairs: Sequence[Pair]) -> None:
    """Write down what the folder's stage is, or refuse a folder that holds another one's work.

    Raises:
        Rejected: `already-exists` when the folder belongs to a stage with other inputs.
    """
    inputs = {
        "base": stage.base.fingerprint,
        "start": of_bytes(save_tensors({"prefix": whole.contiguous()})),
        "frozen": stage.frozen_tokens,
        "pairs": [[list(p.prompt_ids), list(p.chosen_ids), list(p.rejected_ids)] for p in pairs],
        "anchors": [[list(one.prompt_ids), list(one.text_ids)] for one in stage.anchors],
        "settings": stage.settings.deciding(),
        "seed": stage.seed,
    }
    path, claim = stage.folder / "stage.json", of_json(inputs)
    if not path.exists():
        durable.write_json(path, {"inputs": claim})
    elif json.loads(path.read_bytes())["inputs"] != claim:
        raise Rejected(
            "already-exists",
            subject=str(stage.folder),
            expected="an empty folder, or one in which this very stage was begun",
            got="the work of a stage with another base, start, pairs, settings or seed",
            fix="name another folder, or remove this one",
        )


def _phase(stage: _Stage, phase: Phase, start: Prefix, pairs: Sequence[Pair], reference: Prefix | None) -> Prefix:
    """Return the prefix after one phase, from its finished file or by training it."""
    done = stage.folder / f"{phase}.safetensors"
    log_file = stage.folder / f"{phase}_log.json"
    if done.exists() and log_file.exists():
        stage.log += json.loads(log_file.read_bytes())
        return _read(done)
    steps = stage.settings.steps_of(phase)
    chosen = in_order(pairs, steps * stage.settings.batch_size, needs_rejected=phase == "dpo")
    model = SharedPrefixModel(stage.base.model, start, stage.frozen_tokens)
    with forward_restored(stage.base.model):
        trainer = _trainer(stage, phase, model, chosen, reference)
        if stage.settings.anchor_weight and stage.anchors:
            trainer.anchoring = Anchoring(stage.anchors, stage.settings.anchor_weight, stage.settings.anchor_rows)
        trainer.add_callback(StepCallback(lambda step: _after_step(stage, phase, step, model)))
        # Progress is the caller's to show; the losses are kept in the log.
        trainer.remove_callback(PrinterCallback)
        with durable.refused_by_disk(stage.folder):
            trainer.train(resume_from_checkpoint=_newest_checkpoint(Path(trainer.args.output_dir)))
    prefix = model.prefix_parameter().detach().float().cpu().clone()
    if not bool(torch.isfinite(prefix).all()):
        raise Rejected(
            "training-diverged",
            subject=f"{phase} phase in {stage.folder}",
            expected="finite numbers in the prefix",
            got="NaN or infinity",
            fix=f"lower {phase}_lr (now {getattr(stage.settings, phase + '_lr')}) or max_grad_norm, then run again",
        )
    entries = [{"phase": phase, **entry} for entry in trainer.state.log_history if "loss" in entry]
    trainer.accelerator.wait_for_everyone()  # another process may still be writing into the checkpoint
    if trainer.accelerator.is_main_process:
        durable.write_json(log_file, entries)
        durable.write_bytes(done, save_tensors({"prefix": prefix}))
        shutil.rmtree(trainer.args.output_dir)  # checkpoints serve to resume, and this phase is finished
    trainer.accelerator.wait_for_everyone()
    stage.log += entries
    return prefix


def _newest_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written whole, and remove those that were not.

    The trainer writes into the checkpoint's own folder and its state last: a folder without a whole one was cut short.
    """
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in by_step:
        if _parses(path / "trainer_state.json"):
            return str(path)
        if PartialState().is_main_process:
            shutil.rmtree(path)
    return None


def _trainer(
    stage: _Stage, phase: Phase, model: SharedPrefixModel, pairs: Sequence[Pair], reference: Prefix | None
) -> PatchSFTTrainer | PatchDPOTrainer:
    """Return the phase's trainer, its checkpoints in a folder of its own."""
    folder = stage.folder / f"{phase}_checkpoints"
    folder.mkdir(exist_ok=True)
    device = stage.base.model.device
    n_processes = PartialState(cpu=device.type == "cpu").num_processes
    shared = {"batch_size": stage.settings.batch_size}
    if stage.settings.anchor_weight and stage.anchors:
        shared["anchor_rows"] = stage.settings.anchor_rows
    for name, rows in shared.items():
        if rows % n_processes:
            raise Rejected(
                "settings-invalid",
                subject=name,
                expected=f"a multiple of the {n_processes} processes that train together",
                got=str(rows),
                fix=f"change {name}, or launch another number of processes",
            )
    if phase == "sft":
        config = sft_config(stage.settings, stage.seed, folder, device)
        return PatchSFTTrainer(model, config, train_dataset=sft_dataset(pairs), processing_class=stage.base.tokenizer)
    scores = reference_scores(stage.base, reference, pairs, stage.references)
    return PatchDPOTrainer(
        model,
        dpo_config(stage.settings, stage.seed, folder, device),
        train_dataset=dpo_dataset(pairs, scores),
        processing_class=stage.base.tokenizer,
    )


def in_order(pairs: Sequence[Pair], n_wanted: int, *, needs_rejected: bool) -> list[Pair]:
    """Return `n_wanted` usable pairs, cycling through them in their order."""
    usable = [p for p in pairs if p.chosen_ids and (p.rejected_ids or not needs_rejected)]
    if not usable:
        raise Rejected(
            "pairs-empty",
            subject="the pairs of a training stage",
            expected="at least one pair with the completions this phase needs",
            got=f"{len(pairs)} pairs, none usable",
            fix="loosen the pair filters (margin, winner), add prompts, or take more samples a prompt",
        )
    return [usable[i % len(usable)] for i in range(n_wanted)]


def _after_step(stage: _Stage, phase: Phase, step: int, model: SharedPrefixModel) -> None:
    """Keep a snapshot when one is due, and report."""
    settings = stage.settings
    total = settings.steps_of("sft") + settings.steps_of("dpo")
    at = step + (settings.steps_of("sft") if phase == "dpo" else 0)
    due = {round(total * (i + 1) / (settings.snapshots + 1)) for i in range(settings.snapshots)}
    if at in due and PartialState().is_main_process:
        prefix = model.prefix_parameter().detach().float().cpu().contiguous()
        durable.write_bytes(stage.folder / f"snapshot-{at:05d}.safetensors", save_tensors({"prefix": prefix}))
    if stage.on_step is not None:
        stage.on_step(phase, step)


def _snapshots(folder: Path) -> dict[int, Prefix]:
    return {int(path.stem.split("-")[1]): _read(path) for path in sorted(folder.glob("snapshot-*.safetensors"))}


def _read(path: Path) -> Prefix:
    return load_tensors(path.read_bytes())["prefix"]


@contextmanager
def forward_restored(model: torch.nn.Module) -> Iterator[None]:
    """Undo TRL's patch of the base's forward, which would otherwise be wrapped once more by every stage."""
    before = model.__dict__.get("forward")
    try:
        yield
    finally:
        if before is None:
            model.__dict__.pop("forward", None)
        else:
            model.__dict__["forward"] = before
