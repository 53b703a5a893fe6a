"""From a plan to patches: trained stages from the shelf or by training, composed ones by the algebra."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from compose import algebra
from compose.artifact import Patch, new_patch, prefix_digest
from compose.base import Base, arithmetic
from compose.engine.self_test import PROBE, record_self_test, run_self_test
from compose.errors import Rejected
from compose.laboratory.provenance import commit
from compose.laboratory.rows import settings_of, training_rows
from compose.laboratory.shelf import Shelf, Trained
from compose.parse import make_record, revise
from compose.progress import bar
from compose.records import PAIRS_JUDGED_BY, BaseRef, CardDraft, InitInfo, SelfTest
from compose.strategies import Arm, ComposeStage, Stage, TrainStage, in_order, parents, stage_key
from compose.training.anchors import AnchorSet
from compose.training.pairs import Pair, PairSet
from compose.training.settings import TrainSettings
from compose.training.stage import Phase, StageResult, train_stage

Prefix = Float[Tensor, "tokens dim"]
Start = Callable[[TrainStage], tuple[Prefix, InitInfo]]
"""Makes the fresh start of a stage's segment, with what a card says of it."""


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What every trained stage of one job is trained with.

    Args:
        base: The frozen base.
        pairs: The pairs of every risk.
        anchors: Texts on which every stage stays near the base; None for none.
        settings: Phases, steps and rates of a specialist.
        start: Makes fresh starts.
        starts: By risk, what its fresh start depends on, as JSON values.
        efforts: By risk, how many times the settings' steps a stage takes for it.
        seed: The job's seed.
    """

    base: Base
    pairs: Mapping[str, PairSet]
    anchors: AnchorSet | None
    settings: TrainSettings
    start: Start
    starts: Mapping[str, Any]
    efforts: Mapping[str, float]
    seed: int

    def settings_of(self, stage: TrainStage) -> TrainSettings:
        """Return the settings with the steps that a stage takes."""
        return settings_of(stage, self.settings, self.efforts)

    def key(self, stage: Stage) -> str:
        """Return the name of a stage's result, equal in jobs that differ in nothing that could change it."""
        context = {
            "base": self.base.fingerprint,
            "arithmetic": arithmetic(self.base),
            "pairs": {risk: pairs.digest for risk, pairs in self.pairs.items()},
            "anchors": self.anchors.digest if self.anchors else None,
            "training": self.settings.deciding(),
            "starts": dict(self.starts),
            "efforts": dict(self.efforts),
            "seed": self.seed,
        }
        return stage_key(stage, context)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One realised stage: its patch and, when it was trained, how that went."""

    key: str
    name: str
    patch: Patch
    trained: Trained | None = None


@dataclass(frozen=True)
class _Named:
    """What a card calls a stage."""

    name: str
    strategy: str


class _Bar(Protocol):
    """What is asked of a progress bar here."""

    def update(self, n: float) -> object:
        """Count `n` more units."""

    def set_description_str(self, desc: str) -> object:
        """Say what is being done."""


class _NoBar:
    """The bar of a run in which nothing is left to train."""

    def update(self, n: float) -> None:
        """Count nothing."""

    def set_description_str(self, desc: str) -> None:
        """Say nothing."""


class Realiser:
    """Makes every stage of a job's arms, each once.

    Args:
        teaching: What trained stages are trained with.
        shelf: Where they are kept.
    """

    def __init__(self, teaching: Teaching, shelf: Shelf) -> None:
        self.teaching = teaching
        self.shelf = shelf
        self.made: dict[Stage, Made] = {}

    def run(self, arms: Sequence[Arm]) -> dict[Stage, Made]:
        """Return every stage of the arms; what is missing is trained under one bar with the time left.

        Raises:
            Rejected: What training, the algebra or the disk refuse.
        """
        names = _names(arms)
        stages = in_order(stage for arm in arms for stage in arm.stages)
        keys = {stage: self.teaching.key(stage) for stage in stages}
        found = {stage: self._kept(keys[stage]) for stage in stages if isinstance(stage, TrainStage)}
        missing = [stage for stage, trained in found.items() if trained is None]
        work = sum(_work(self.teaching.settings_of(stage)) for stage in missing)
        with bar(work, "train", unit="completion") if missing else nullcontext(_NoBar()) as progress:
            for stage in stages:
                named = names.get(stage, _Named(f"stage-{keys[stage][:12]}", "stage"))
                if isinstance(stage, ComposeStage):
                    self.made[stage] = self._compose(stage, keys[stage], named)
                    continue
                trained = found[stage]
                if trained is None:
                    trained = self._train(stage, keys[stage], named, progress)
                self.made[stage] = Made(key=keys[stage], name=named.name, patch=trained.patch, trained=trained)
        return self.made

    def _compose(self, stage: ComposeStage, key: str, named: _Named) -> Made:
        """Return what an algebraic method makes of finished patches, with a self-test on its card."""
        parts = [self.made[part].patch for part in stage.parts]
        patch = algebra.apply(stage.method, parts, **dict(stage.params))
        card = revise(patch.card, name=named.name, self_test=self._self_test(patch.prefix))
        return Made(key=key, name=named.name, patch=Patch(patch.prefix, card))

    def _train(self, stage: TrainStage, key: str, named: _Named, progress: _Bar) -> Trained:
        """Return a trained stage, kept before this returns; another job's is taken when it was first."""
        progress.set_description_str(f"train {named.name}")
        with self.shelf.reserved(key):
            trained = self._kept(key)
            if trained is not None:
                progress.update(_work(self.teaching.settings_of(stage)))
                return trained
            trained = self._trained(stage, key, named, progress)
            self.shelf.put(key, trained)
            return trained

    def _trained(self, stage: TrainStage, key: str, named: _Named, progress: _Bar) -> Trained:
        """Return a stage trained now, or from where its training was interrupted."""
        teaching = self.teaching
        settings = teaching.settings_of(stage)
        rows = self.rows(stage, settings)
        start, info = self._start(stage)
        frozen = self.made[stage.frozen].patch.prefix if stage.frozen else None
        began = time.monotonic()

        def on_step(phase: Phase, _: int) -> None:
            progress.update(settings.batch_size * (2 if phase == "dpo" else 1))

        result = train_stage(
            teaching.base,
            start,
            rows,
            settings,
            seed=teaching.seed,
            frozen=frozen,
            folder=self.shelf.work(key),
            anchors=teaching.anchors.anchors if teaching.anchors else (),
            references=self.shelf.references,
            on_step=on_step,
        )
        patch = new_patch(result.prefix, self._draft(stage, settings, named, info, result))
        return Trained(
            patch=patch,
            snapshots=result.snapshots,
            log=result.log,
            steps=settings.steps_of("sft") + settings.steps_of("dpo"),
            seconds=time.monotonic() - began,
            commit=commit(),
        )

    def rows(self, stage: TrainStage, settings: TrainSettings) -> list[Pair]:
        """Return the rows a stage trains on."""
        teaching = self.teaching
        return training_rows(
            stage,
            {risk: pairs.pairs for risk, pairs in teaching.pairs.items()},
            settings,
            seed=teaching.seed,
        )

    def beginning(self, stage: TrainStage) -> Prefix:
        """Return the whole prefix that a stage started from, what it keeps in front included."""
        segment, _ = self._start(stage)
        return segment if stage.frozen is None else torch.cat([self.made[stage.frozen].patch.prefix, segment])

    def _start(self, stage: TrainStage) -> tuple[Prefix, InitInfo]:
        """Return where a stage's segment starts: another stage's patch, or afresh."""
        if stage.start is None:
            return self.teaching.start(stage)
        prefix = self.made[stage.start].patch.prefix
        return prefix, InitInfo(kind="patch", digest=prefix_digest(prefix))

    def _draft(
        self, stage: TrainStage, settings: TrainSettings, named: _Named, info: InitInfo, result: StageResult
    ) -> CardDraft:
        """Return what the card of a trained patch says."""
        teaching = self.teaching
        seen = tuple(dict.fromkeys(stage.memory + stage.risks))
        data = {risk: teaching.pairs[risk].digest for risk in seen}
        if teaching.anchors:
            data["anchors"] = teaching.anchors.digest
        training: dict[str, Any] = asdict(settings)
        training[PAIRS_JUDGED_BY] = {risk: teaching.pairs[risk].judge for risk in seen}
        if stage.replay:
            training["replay"] = asdict(stage.replay)
        fields = {
            "name": named.name,
            "risks": seen,
            "base": base_reference(teaching.base),
            "init": info,
            "strategy": named.strategy,
            "parents": tuple(self.made[parent].patch.card.reference for parent in parents(stage)),
            "data": data,
            "seed": teaching.seed,
            "training": training,
            "self_test": self._self_test(result.prefix),
        }
        return make_record(CardDraft, fields, subject=f"card of {named.name}", code="card-invalid")

    def _kept(self, key: str) -> Trained | None:
        """Return a finished stage whose patch is active and right here, for another machine may have made it."""
        trained = self.shelf.get(key)
        if trained is None or trained.patch.card.self_test is None:
            return trained
        card = trained.patch.card
        try:
            run_self_test(self.teaching.base.model, trained.patch.prefix, trained.patch.card.self_test, card.name)
        except Rejected as error:
            print(f"the finished stage {card.name} is made again: {error.got}", file=sys.stderr)
            return None
        return trained

    def _self_test(self, prefix: Prefix) -> SelfTest:
        """Return logits that prove a patch active on this base."""
        base = self.teaching.base
        with torch.no_grad():
            return record_self_test(base.model, prefix, base.tokenizer.encode(PROBE))


def base_reference(base: Base) -> BaseRef:
    """Return what a card says of its base."""
    config = base.model.config.get_text_config()
    return BaseRef(
        name=base.name,
        fingerprint=base.fingerprint,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
    )


def _work(settings: TrainSettings) -> int:
    """Return the completions that a stage runs through: DPO has two for each row, as many seconds apart."""
    return settings.batch_size * (settings.steps_of("sft") + 2 * settings.steps_of("dpo"))


def _names(arms: Sequence[Arm]) -> dict[Stage, _Named]:
    """Return each stage's name and strategy, from the first arm that has it."""
    names: dict[Stage, _Named] = {}
    for arm in arms:
        for index, stage in enumerate(arm.stages):
            names.setdefault(stage, _Named(arm.stage_name(index), arm.strategy))
    return names
