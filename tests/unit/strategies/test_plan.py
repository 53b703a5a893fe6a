"""Stages as values: names, dependencies, and the keys under which results are shared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.strategies.plan import (
    Arm,
    ComposeStage,
    ReplaySpec,
    Stage,
    TrainStage,
    in_order,
    is_specialist,
    orders_of,
    specialist,
    stage_key,
    steps_of,
)

TOX = specialist("tox", 4)
BIAS = specialist("bias", 4)
BOTH = ComposeStage(method="concat", parts=(TOX, BIAS))
REPLAY = ReplaySpec(mode="replay", ratio=0.5, capacity=8)
TRAINED_ON = TrainStage(risks=("bias",), tokens=4, start=TOX, replay=REPLAY, memory=("tox",))


def context(**changes: Any) -> dict[str, Any]:
    pairs = {"tox": "sha256:t", "bias": "sha256:g"}
    starts = {"tox": {"text": "Be polite."}, "bias": {"text": "Be fair."}}
    efforts = {"tox": 1.0, "bias": 1.0}
    return {"base": "sha256:b", "seed": 0, "pairs": pairs, "starts": starts, "efforts": efforts, **changes}


def test_the_given_order_comes_first_in_every_choice_of_orders() -> None:
    risks = ("a", "b", "c")
    assert orders_of(risks, "given") == [("a", "b", "c")]
    assert orders_of(risks, "cyclic") == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")]
    assert len(orders_of(risks, "all")) == 6
    assert orders_of(risks, "all")[0] == risks


def test_dependencies_come_before_what_needs_them_and_only_once() -> None:
    ordered = in_order([BOTH, TRAINED_ON, TOX])
    assert ordered == [TOX, BIAS, BOTH, TRAINED_ON]


def test_only_a_fresh_patch_of_one_risk_is_a_specialist() -> None:
    assert is_specialist(TOX)
    assert not is_specialist(TRAINED_ON)
    assert not is_specialist(BOTH)
    assert not is_specialist(TrainStage(risks=("tox", "bias"), tokens=4))


def test_a_stage_takes_as_many_steps_as_show_each_risks_pairs_as_often_as_a_specialist() -> None:
    even = {"tox": 1.0, "bias": 1.0}
    joint = TrainStage(risks=("tox", "bias"), tokens=8)
    assert steps_of(TOX, 30, 8, even) == 30
    assert steps_of(TRAINED_ON, 30, 8, even) == 60  # 4 of 8 rows are added: 30 * 8 / 4
    assert steps_of(joint, 30, 8, even) == 60
    assert steps_of(joint, 30, 8, {"tox": 1.5, "bias": 0.5}) == 45 + 15
    third = ReplaySpec(mode="pad", ratio=0.3)  # round(0.3 * 8) = 2 of 8 rows: 10 * 8 / 6 = 13.3
    assert steps_of(TrainStage(risks=("tox",), tokens=4, replay=third), 10, 8, even) == 14


def test_stages_of_an_arm_are_named_after_the_risks_handled_so_far() -> None:
    third = TrainStage(risks=("harm",), tokens=4, start=TRAINED_ON)
    arm = Arm(
        label="sequential-replay",
        strategy="sequential",
        order=("tox", "bias", "harm"),
        stages=(TOX, TRAINED_ON, third),
    )
    assert [arm.stage_name(index) for index in range(3)] == [
        "specialist-tox",
        "sequential-replay-tox-bias",
        "sequential-replay-tox-bias-harm",
    ]
    assert arm.name == "sequential-replay-tox-bias-harm"


def test_equal_stages_have_equal_keys_wherever_they_stand() -> None:
    again = TrainStage(risks=("bias",), tokens=4, start=specialist("tox", 4), replay=REPLAY, memory=("tox",))
    assert stage_key(again, context()) == stage_key(TRAINED_ON, context())


@pytest.mark.parametrize(
    "other",
    [
        BIAS,
        specialist("tox", 5),
        TrainStage(risks=("tox",), tokens=4, start=BIAS),
        TrainStage(risks=("tox",), tokens=4, frozen=BIAS),
        TrainStage(risks=("tox",), tokens=4, replay=REPLAY),
        TrainStage(risks=("tox", "bias"), tokens=4),
        ComposeStage(method="concat", parts=(TOX,)),
    ],
)
def test_every_part_of_a_stage_is_in_its_key(other: Stage) -> None:
    assert stage_key(other, context()) != stage_key(TOX, context())


@pytest.mark.parametrize("change", [{"base": "sha256:other"}, {"seed": 1}, {"train": {"beta": 0.3}}])
def test_a_changed_context_changes_the_key_of_what_is_trained_and_of_all_made_from_it(
    change: dict[str, Any],
) -> None:
    for stage in (TOX, TRAINED_ON, BOTH):
        assert stage_key(stage, context(**change)) != stage_key(stage, context())


def test_other_pairs_change_only_the_stages_that_saw_them() -> None:
    changed = context(pairs={"tox": "sha256:t", "bias": "sha256:changed"})
    assert stage_key(TOX, changed) == stage_key(TOX, context())
    assert stage_key(TRAINED_ON, changed) != stage_key(TRAINED_ON, context())


def test_another_start_changes_the_fresh_stages_of_that_risk_and_what_grows_out_of_them() -> None:
    changed = context(starts={"tox": {"text": "Be polite."}, "bias": {"text": "Be just."}})
    assert stage_key(TOX, changed) == stage_key(TOX, context())
    assert stage_key(TRAINED_ON, changed) == stage_key(TRAINED_ON, context())
    assert stage_key(BIAS, changed) != stage_key(BIAS, context())
    assert stage_key(BOTH, changed) != stage_key(BOTH, context())


def test_the_order_of_parts_and_the_parameters_are_in_the_key() -> None:
    swapped = ComposeStage(method="concat", parts=(BIAS, TOX))
    weighted = ComposeStage(method="mean", parts=(TOX, BIAS), params=(("weights", (0.25, 0.75)),))
    equal = ComposeStage(method="mean", parts=(TOX, BIAS), params=(("weights", (0.5, 0.5)),))
    keys = {stage_key(stage, context()) for stage in (BOTH, swapped, weighted, equal)}
    assert len(keys) == 4


def test_pad_and_replay_are_told_apart() -> None:
    pad = TrainStage(risks=("bias",), tokens=4, start=TOX, replay=ReplaySpec(mode="pad", ratio=0.5), memory=("tox",))
    assert stage_key(pad, context()) != stage_key(TRAINED_ON, context())


@given(st.permutations(["a", "b", "c", "d"]), st.sampled_from(["given", "cyclic", "all"]))
def test_every_order_holds_every_risk_once_and_no_order_twice(risks: list[str], choice: Any) -> None:
    orders = orders_of(tuple(risks), choice)
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in orders)
    assert len(set(orders)) == len(orders)
