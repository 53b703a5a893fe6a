"""LoRA through the pipeline of a patch, to compare with: the same pairs, phases and losses; other parameters.

What comes out is a base again, with the adapter merged into a copy of the weights, so that it is sampled and judged by
whatever samples and judges patches, with the same noise. Its folder is a PEFT adapter with the facts of its training.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass as plain
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel, TaskType
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from transformers import PreTrainedModel, PrinterCallback

from compose import durable
from compose.assets.quiet import quiet_transformers
from compose.base import Base, arithmetic
from compose.digest import of_file, of_json
from compose.errors import Rejected
from compose.records import SETTINGS
from compose.training.anchors import Anchor
from compose.training.model import LoraScoringModel
from compose.training.pairs import Pair
from compose.training.reference_scores import reference_logprobs, reference_scores
from compose.training.settings import Rate, TrainSettings
from compose.training.stage import OnStep, Phase, check_device, forward_restored, in_order
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

FACTS_FILE = "lora.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
MADE_BY = 1
"""Raised when a change of the code trains another adapter from the same settings: no old one is then used."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LoraSettings:
    """What LoRA has and a prompt has not.

    Args:
        scale: The adapter's product counts so much, at every rank: PEFT's alpha is scale times rank.
        sft_lr: Peak learning rate of SFT, instead of the settings' own, which is one for prompts.
        dpo_lr: Peak learning rate of DPO, likewise.
    """

    scale: Annotated[float, Field(gt=0)] = 2.0
    sft_lr: Rate = 1e-3
    dpo_lr: Rate = 1e-3


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LoraFacts:
    """What is known of one adapter.

    Attributes:
        rank: Rank of its matrices, in every linear layer but the output head.
        scale: How much their product counts.
        parameters: Numbers that were trained.
        seconds: Wall time of training, DPO's reference scores included, copying and merging the weights not.
        artifact_bytes: Size of the two files that PEFT needs, weights and configuration.
        steps: Optimiser steps.
        digest: Digest of the file of weights.
        log: One mapping a logged step: phase, step, loss, learning_rate and TRL's metrics.
    """

    rank: int
    scale: float
    parameters: int
    seconds: float
    artifact_bytes: int
    steps: int
    digest: str
    log: list[dict[str, Any]]


@plain(frozen=True)
class LoraResult:
    """A merged base, and the facts of its adapter."""

    base: Base
    facts: LoraFacts


@plain(frozen=True)
class _Lesson:
    """What the phases of one training share."""

    base: Base
    pairs: Sequence[Pair]
    settings: TrainSettings
    seed: int
    anchors: Sequence[Anchor]
    references: Path | None
    on_step: OnStep | None


_FACTS = TypeAdapter(LoraFacts)


def train_lora(
    base: Base,
    pairs: Sequence[Pair],
    settings: TrainSettings,
    *,
    rank: int,
    seed: int,
    out: Path,
    lora: LoraSettings | None = None,
    anchors: Sequence[Anchor] = (),
    references: Path | None = None,
    on_step: OnStep | None = None,
) -> LoraResult:
    """Return the base with a LoRA adapter of `rank` trained on `pairs` and merged into a copy of its weights.

    The adapter is in `out` when this returns, or nothing is: an interrupted training starts anew, and a finished one
    is read and not repeated. The given base is not changed.

    Args:
        base: The frozen base.
        pairs: What to learn from, in the given order and again from the first, as `train_stage` takes them.
        settings: Phases, steps, batch size and losses, as for a patch; its learning rates are replaced by `lora`'s,
            and snapshots and checkpoints are not made.
        rank: Rank of the adapter's matrices.
        seed: Seed of the adapter's start and of everything random in the trainers.
        out: The adapter's folder.
        lora: Scale and learning rates; the defaults of `LoraSettings` when None.
        anchors: Texts on which to stay near the base; they count when `settings.anchor_weight` is above 0.
        references: Where scores under the base as DPO's reference are kept; None scores them anew.
        on_step: Called after every step with the phase and the number of steps it has done.

    Raises:
        Rejected: `settings-invalid` for a rank below 1, a quantised base or several processes; `already-exists` when
            `out` holds another training's adapter; `pairs-empty`; `training-diverged`; `disk-full`; `read-only`.
    """
    chosen = lora or LoraSettings()
    _refuse_unfit(base, rank)
    check_device(base)
    lesson = _Lesson(
        base, pairs, dataclasses.replace(settings, sft_lr=chosen.sft_lr, dpo_lr=chosen.dpo_lr), seed, anchors,
        references, on_step,
    )  # fmt: skip
    claim = _claim(lesson, rank, chosen)
    with durable.locked(out, waiting_for=f"another process that trains {out}"):
        durable.sweep(out.parent)
        facts = _kept(out, claim)
        if facts is None:
            facts = _trained(lesson, rank, chosen, out, claim)
    return LoraResult(_merged(base, out, facts), facts)


def _refuse_unfit(base: Base, rank: int) -> None:
    """Refuse what cannot be trained or merged here."""
    processes = PartialState().num_processes
    refused = {
        "rank": (rank < 1, "a rank of at least 1", str(rank), "choose a higher one"),
        f"the base {base.name}": (
            bool(getattr(base.model, "is_quantized", False)),
            "weights that an adapter can be merged into exactly",
            "quantised weights",
            "set model.load_in_4bit=false",
        ),
        "processes": (processes > 1, "one process", f"{processes}", "start it without accelerate launch"),
    }
    for subject, (wrong, expected, got, fix) in refused.items():
        if wrong:
            raise Rejected("settings-invalid", subject=subject, expected=expected, got=got, fix=fix)


def _claim(lesson: _Lesson, rank: int, lora: LoraSettings) -> str:
    """Return the digest of everything that an adapter depends on."""
    deciding = lesson.settings.deciding()
    del deciding["snapshots"]
    return of_json(
        {
            "made by": MADE_BY,
            "base": [lesson.base.fingerprint, *arithmetic(lesson.base)],
            "pairs": [[list(p.prompt_ids), list(p.chosen_ids), list(p.rejected_ids)] for p in lesson.pairs],
            "anchors": [[list(one.prompt_ids), list(one.text_ids)] for one in lesson.anchors],
            "settings": deciding,
            "rank": rank,
            "lora": dataclasses.asdict(lora),
            "seed": lesson.seed,
        }
    )


def _kept(out: Path, claim: str) -> LoraFacts | None:
    """Return the facts of a finished adapter; None when there is none, or one that is damaged and is trained again.

    Raises:
        Rejected: `already-exists` when it is another training's.
    """
    if not out.exists():
        return None
    made_from: str | None = None
    whole = False
    try:
        record = json.loads((out / FACTS_FILE).read_bytes())
        facts, made_from = _FACTS.validate_python(record["facts"]), str(record["made_from"])
        whole = of_file(out / WEIGHTS_FILE) == facts.digest and (out / CONFIG_FILE).is_file()
    except (OSError, ValueError, KeyError, TypeError):  # pydantic's error is a ValueError
        pass
    if made_from not in (None, claim) or not (out / FACTS_FILE).is_file():
        raise Rejected(
            "already-exists",
            subject=str(out),
            expected="a name that is free, or the adapter of this very training",
            got="another training's adapter, or something else",
            fix="name another folder, or remove this one",
        )
    if not whole:
        print(f"the adapter in {out} is damaged and is trained again", file=sys.stderr)
        return None
    return facts


def _trained(lesson: _Lesson, rank: int, lora: LoraSettings, out: Path, claim: str) -> LoraFacts:
    """Train an adapter, put it into its folder, and return its facts."""
    unpatched = lesson.base.model
    weights = copy.deepcopy(unpatched)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=lora.scale * rank,
        target_modules="all-linear",
        base_model_name_or_path=lesson.base.name,
    )
    with torch.random.fork_rng():
        torch.manual_seed(lesson.seed)
        model = LoraScoringModel(weights, config, unpatched)
    began = time.monotonic()
    log: list[dict[str, Any]] = []
    reference = None
    if lesson.settings.steps_of("sft"):
        log += _phase(lesson, "sft", model, [])
    if lesson.settings.steps_of("dpo"):
        usable = _rows(lesson, "dpo")
        reference = _reference(lesson, model, usable)
        log += _phase(lesson, "dpo", model, reference)
    seconds = time.monotonic() - began
    with durable.new_folder(out, replace=True) as made:
        # Off the hub: PEFT would ask it whether the vocabulary has grown.
        model.save_pretrained(made, save_embedding_layers=False)
        (made / "README.md").unlink(missing_ok=True)  # a form to fill in
        facts = LoraFacts(
            rank=rank,
            scale=lora.scale,
            parameters=model.get_nb_trainable_parameters()[0],
            seconds=round(seconds, 3),
            artifact_bytes=sum((made / name).stat().st_size for name in (WEIGHTS_FILE, CONFIG_FILE)),
            steps=lesson.settings.steps_of("sft") + lesson.settings.steps_of("dpo"),
            digest=of_file(made / WEIGHTS_FILE),
            log=log,
        )
        durable.write_json(made / FACTS_FILE, {"made_from": claim, "facts": _FACTS.dump_python(facts, mode="json")})
    return facts


def _rows(lesson: _Lesson, phase: Phase) -> list[Pair]:
    """Return the pairs of a phase, in order."""
    wanted = lesson.settings.steps_of(phase) * lesson.settings.batch_size
    return in_order(lesson.pairs, wanted, needs_rejected=phase == "dpo")


def _reference(lesson: _Lesson, model: LoraScoringModel, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Return every pair's scores under DPO's reference: the base, where LoRA starts too, or the model after SFT."""
    if lesson.settings.dpo_reference == "sft":
        now = dataclasses.replace(lesson.base, model=model.get_base_model())
        return reference_logprobs(now, None, pairs)
    if lesson.references is not None:
        return reference_scores(lesson.base, None, pairs, lesson.references)
    return reference_logprobs(lesson.base, None, pairs)


def _phase(
    lesson: _Lesson, phase: Literal["sft", "dpo"], model: LoraScoringModel, reference: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Train one phase and return its log."""
    settings, device = lesson.settings, lesson.base.model.device
    rows = _rows(lesson, phase)
    with tempfile.TemporaryDirectory() as scratch, forward_restored(model.get_base_model()):
        folder = Path(scratch)
        trainer: PatchSFTTrainer | PatchDPOTrainer
        if phase == "sft":
            arguments = sft_config(settings, lesson.seed, folder, device)
            arguments.save_strategy = "no"
            trainer = PatchSFTTrainer(
                model, arguments, train_dataset=sft_dataset(rows), processing_class=lesson.base.tokenizer
            )
        else:
            arguments = dpo_config(settings, lesson.seed, folder, device)
            arguments.save_strategy = "no"
            trainer = PatchDPOTrainer(
                model,
                arguments,
                train_dataset=dpo_dataset(rows, reference),
                processing_class=lesson.base.tokenizer,
            )
        if settings.anchor_weight and lesson.anchors:
            trainer.anchoring = Anchoring(lesson.anchors, settings.anchor_weight, settings.anchor_rows)
        if lesson.on_step is not None:
            report = lesson.on_step
            trainer.add_callback(StepCallback(lambda step: report(phase, step)))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
        raise Rejected(
            "training-diverged",
            subject=f"{phase} phase of a LoRA adapter",
            expected="finite numbers in its matrices",
            got="NaN or infinity",
            fix=f"lower its {phase}_lr (now {getattr(settings, phase + '_lr')}) or max_grad_norm",
        )
    return [{"phase": phase, **entry} for entry in trainer.state.log_history if "loss" in entry]


def _merged(base: Base, folder: Path, facts: LoraFacts) -> Base:
    """Return the base with an adapter merged into a copy of its weights, under a name and fingerprint of its own.

    Raises:
        Rejected: `results-invalid` when PEFT cannot read the adapter.
    """
    try:
        with quiet_transformers():
            adapted = PeftModel.from_pretrained(copy.deepcopy(base.model), str(folder))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise Rejected(
            "results-invalid",
            subject=str(folder),
            expected=f"a LoRA adapter of {base.name}",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            fix="remove the folder and train again",
        ) from error
    model: PreTrainedModel = adapted.merge_and_unload()
    model.train(False)
    model.requires_grad_(False)
    return dataclasses.replace(
        base,
        name=f"{base.name}-lora-r{facts.rank}",
        model=model,
        fingerprint=of_json({"base": base.fingerprint, "lora": facts.digest, "scale": facts.scale}),
    )
