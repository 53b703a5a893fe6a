"""Which rows a stage trains on, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from compose.laboratory.rows import settings_of, training_rows
from compose.strategies import ReplaySpec, TrainStage
from compose.strategies.plan import specialist
from compose.training.pairs import Pair, PairSet
from compose.training.settings import TrainSettings

SETTINGS = TrainSettings(sft_steps=4, dpo_steps=6, batch_size=4)
EVEN = {"tox": 1.0, "bias": 1.0}
ONE = specialist("tox", 4)
REPLAY = TrainStage(
    risks=("bias",), tokens=4, start=ONE, replay=ReplaySpec(mode="replay", ratio=0.5, capacity=4), memory=("tox",)
)
PAD = TrainStage(risks=("bias",), tokens=4, start=ONE, replay=ReplaySpec(mode="pad", ratio=0.5), memory=("tox",))
JOINT = TrainStage(risks=("tox", "bias"), tokens=8)
MakePairs = Callable[..., PairSet]


def rows_of(stage: TrainStage, make_pairs: MakePairs, *, seed: int = 0) -> list[Pair]:
    return training_rows(
        stage,
        {"tox": make_pairs("tox", 10).pairs, "bias": make_pairs("bias", 10).pairs},
        settings_of(stage, SETTINGS, EVEN),
        seed=seed,
    )


def batches(rows: list[Pair]) -> list[Counter[str]]:
    return [Counter(pair.risk for pair in rows[start : start + 4]) for start in range(0, len(rows), 4)]


def test_steps_are_counted_out_for_each_stage() -> None:
    assert settings_of(ONE, SETTINGS, EVEN) == SETTINGS
    assert settings_of(REPLAY, SETTINGS, EVEN).dpo_steps == 12
    assert settings_of(JOINT, SETTINGS, EVEN).sft_steps == 8


def test_a_specialist_sees_its_own_pairs_as_often_as_its_longest_phase_asks(make_pairs: MakePairs) -> None:
    rows = rows_of(ONE, make_pairs)
    assert len(rows) == 6 * 4
    assert {pair.risk for pair in rows} == {"tox"}


def test_half_of_every_batch_is_replayed_and_no_pair_of_the_risk_itself_is_lost(make_pairs: MakePairs) -> None:
    plain = rows_of(TrainStage(risks=("bias",), tokens=4, start=ONE), make_pairs)
    rows = rows_of(REPLAY, make_pairs)
    assert batches(rows) == [Counter(tox=2, bias=2)] * 12
    assert [pair for pair in rows if pair.risk == "bias"] == plain


def test_replayed_pairs_come_out_of_a_buffer_of_the_capacity(make_pairs: MakePairs) -> None:
    replayed = {pair.prompt_id for pair in rows_of(REPLAY, make_pairs) if pair.risk == "tox"}
    assert len(replayed) == 4


def test_the_pad_control_has_as_many_rows_all_of_the_risk_itself(make_pairs: MakePairs) -> None:
    padded, replayed = rows_of(PAD, make_pairs), rows_of(REPLAY, make_pairs)
    assert len(padded) == len(replayed)
    assert {pair.risk for pair in padded} == {"bias"}


def test_a_mixture_takes_the_risks_in_turn(make_pairs: MakePairs) -> None:
    rows = rows_of(JOINT, make_pairs)
    assert batches(rows) == [Counter(tox=2, bias=2)] * 12


@pytest.mark.parametrize("stage", [ONE, REPLAY, JOINT])
def test_the_seed_decides_the_order_and_nothing_else_does(stage: TrainStage, make_pairs: MakePairs) -> None:
    assert rows_of(stage, make_pairs, seed=1) == rows_of(stage, make_pairs, seed=1)
    assert rows_of(stage, make_pairs, seed=1) != rows_of(stage, make_pairs, seed=2)
