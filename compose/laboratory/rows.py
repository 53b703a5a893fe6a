"""The rows a stage trains on, in order: its risks in turn, replayed or padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

from compose.strategies import TrainStage, steps_of
from compose.training.pairs import Pair
from compose.training.replay import ReplayBuffer, mix
from compose.training.settings import TrainSettings


def settings_of(stage: TrainStage, settings: TrainSettings, efforts: Mapping[str, float]) -> TrainSettings:
    """Return the settings with the stage's own number of steps (see `steps_of`)."""
    return replace(
        settings,
        sft_steps=steps_of(stage, settings.sft_steps, settings.batch_size, efforts),
        dpo_steps=steps_of(stage, settings.dpo_steps, settings.batch_size, efforts),
    )


def training_rows(
    stage: TrainStage,
    pairs: Mapping[str, Sequence[Pair]],
    settings: TrainSettings,
    *,
    seed: int,
) -> list[Pair]:
    """Return a stage's rows in the order of training.

    Args:
        stage: What is trained.
        pairs: The pairs of every risk.
        settings: The stage's own settings, its steps counted out (see `settings_of`).
        seed: Fixes every order.

    Raises:
        Rejected: `pairs-empty` or `replay-empty`.
    """
    total = settings.pairs_needed
    if len(stage.risks) > 1:
        return _in_turn(stage, pairs, settings, seed)
    replay = stage.replay
    buffer: ReplayBuffer[Pair] | None = None
    if replay is not None and replay.mode == "replay":
        buffer = ReplayBuffer(replay.capacity, replay.policy, seed)
        for risk in stage.memory:
            buffer.add(risk, pairs[risk])
    return mix(
        pairs[stage.risks[0]],
        buffer,
        mode=replay.mode if replay else "none",
        ratio=replay.ratio if replay else 0.0,
        batch_size=settings.batch_size,
        n_total=total,
        seed=seed,
    )


def _in_turn(stage: TrainStage, pairs: Mapping[str, Sequence[Pair]], settings: TrainSettings, seed: int) -> list[Pair]:
    """Return equal shares of every risk's pairs, one of each in turn."""
    share = ceil(settings.pairs_needed / len(stage.risks))
    each = [
        mix(
            pairs[risk],
            None,
            mode="none",
            ratio=0.0,
            batch_size=settings.batch_size,
            n_total=share,
            seed=seed,
        )
        for risk in stage.risks
    ]
    return [row for together in zip(*each, strict=True) for row in together]
