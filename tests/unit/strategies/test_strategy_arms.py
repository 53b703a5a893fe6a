"""What each strategy plans, and what several together share."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from compose.errors import Rejected
from compose.strategies import AnyStrategy, StrategySpec, plan_arms
from compose.strategies.concat import Concat
from compose.strategies.joint import Joint
from compose.strategies.mean import Mean
from compose.strategies.plan import (
    ComposeStage,
    ReplaySpec,
    Strategy,
    Task,
    TrainStage,
    in_order,
    specialist,
)
from compose.strategies.sequential import Sequential
from compose.strategies.specialist import Specialist
from compose.strategies.stacked import Stacked

TWO = Task(risks=("tox", "bias"), tokens=4)
THREE = Task(risks=("tox", "bias", "harm"), tokens=4)
TOX, BIAS, HARM = (specialist(risk, 4) for risk in THREE.risks)
REPLAY = ReplaySpec(mode="replay")
PAD = ReplaySpec(mode="pad")


def test_there_is_one_specialist_a_risk_whatever_the_order() -> None:
    arms = Specialist().arms(Task(risks=("tox", "bias"), tokens=4, orders="all"))
    assert [arm.stages for arm in arms] == [(TOX,), (BIAS,)]
    assert [arm.name for arm in arms] == ["specialist-tox", "specialist-bias"]


def test_specialists_are_concatenated_in_every_order_one_more_at_each_stage() -> None:
    arms = Concat().arms(THREE)
    assert len(arms) == 6
    assert arms[1].order == ("tox", "harm", "bias")
    assert arms[1].stages == (
        TOX,
        ComposeStage(method="concat", parts=(TOX, HARM)),
        ComposeStage(method="concat", parts=(TOX, HARM, BIAS)),
    )


def test_a_mean_has_one_order_and_equal_weights() -> None:
    (arm,) = Mean().arms(Task(risks=("tox", "bias"), tokens=4, orders="all"))
    assert arm.stages[1] == ComposeStage(method="mean", parts=(TOX, BIAS), params=(("weights", (0.5, 0.5)),))


def test_weights_of_a_mean_are_shares_of_the_parts_so_far() -> None:
    (arm,) = Mean(weights=(1.0, 3.0, 4.0)).arms(THREE)
    assert arm.stages[1].params == (("weights", (0.25, 0.75)),)  # type: ignore[union-attr]
    assert arm.stages[2].params == (("weights", (0.125, 0.375, 0.5)),)  # type: ignore[union-attr]


def test_a_joint_patch_is_as_long_as_the_concatenation_and_sees_every_risk() -> None:
    (arm,) = Joint().arms(THREE)
    assert arm.stages == (TrainStage(risks=("tox", "bias", "harm"), tokens=12),)


def test_sequential_trains_the_same_patch_on() -> None:
    (arm,) = Sequential(replay=REPLAY).arms(THREE)
    second = TrainStage(risks=("bias",), tokens=4, start=TOX, replay=REPLAY, memory=("tox",))
    third = TrainStage(risks=("harm",), tokens=4, start=second, replay=REPLAY, memory=("tox", "bias"))
    assert arm.stages == (TOX, second, third)


def test_stacked_keeps_what_is_there_and_adds_a_segment() -> None:
    (arm,) = Stacked(replay=PAD).arms(THREE)
    second = TrainStage(risks=("bias",), tokens=4, frozen=TOX, replay=PAD, memory=("tox",))
    third = TrainStage(risks=("harm",), tokens=4, frozen=second, replay=PAD, memory=("tox", "bias"))
    assert arm.stages == (TOX, second, third)


def test_variants_are_named_after_their_replay_and_no_replay_is_plain() -> None:
    labels = [Sequential(replay=replay).arms(TWO)[0].label for replay in (ReplaySpec(), REPLAY, PAD)]
    assert labels == ["sequential", "sequential-replay", "sequential-pad"]
    assert Sequential().arms(TWO)[0].stages[1].replay is None  # type: ignore[union-attr]


def test_a_strategy_may_have_orders_of_its_own() -> None:
    assert len(Stacked(orders="all").arms(TWO)) == 2
    assert len(Concat(orders=None).arms(TWO)) == 1
    assert len(Sequential().arms(Task(risks=TWO.risks, tokens=4, orders="all"))) == 2


def test_specialists_are_always_planned_first_and_only_once() -> None:
    arms = plan_arms([Mean(), Specialist()], TWO)
    assert [arm.name for arm in arms] == ["specialist-tox", "specialist-bias", "mean-tox-bias"]


def test_one_of_each_kind_for_two_risks_needs_six_trainings() -> None:
    chosen: list[Strategy] = [Concat(), Mean(), Joint(), Sequential(), Sequential(replay=REPLAY), Stacked()]
    arms = plan_arms(chosen, TWO)
    trained = [s for s in in_order(stage for arm in arms for stage in arm.stages) if isinstance(s, TrainStage)]
    # two specialists, joint, and the second stage of three continual arms
    assert len(trained) == 6


def test_arms_of_one_name_are_refused_until_one_has_a_label() -> None:
    half, quarter = (Sequential(replay=ReplaySpec(mode="replay", ratio=r)) for r in (0.5, 0.25))
    with pytest.raises(Rejected, match="sequential-replay-tox-bias"):
        plan_arms([half, quarter], TWO)
    labelled = Sequential(replay=quarter.replay, label="sequential-quarter")
    assert len(plan_arms([half, labelled], TWO)) == 4


@pytest.mark.parametrize("risks", [(), ("tox", "tox")])
def test_no_risk_or_one_twice_is_refused(risks: tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="each once"):
        plan_arms([], Task(risks=risks, tokens=4))


@pytest.mark.parametrize("label", ["My Label", "../x", "", "a" * 33])
def test_a_label_that_no_card_could_bear_is_refused_at_start(label: str) -> None:
    with pytest.raises(ValidationError):
        Sequential(label=label)


def test_a_name_too_long_for_a_card_is_refused_before_anything_is_trained() -> None:
    risks = tuple(f"a_risk_with_a_long_name_{n}" for n in range(3))
    with pytest.raises(Rejected, match="names of at most 64 characters"):
        plan_arms([Sequential(replay=REPLAY)], Task(risks=risks, tokens=4))


def test_one_name_for_two_models_on_the_way_is_refused() -> None:
    # The arms have different names, and both have a model "same-tox-bias" after their second stage.
    both: list[Strategy] = [Sequential(label="same", orders="given"), Stacked(label="same", orders="all")]
    task = Task(risks=("tox", "bias", "harm"), tokens=4)
    with pytest.raises(Rejected, match="settings-invalid"):
        plan_arms(both, task)


def test_weights_that_do_not_fit_the_risks_are_refused() -> None:
    with pytest.raises(Rejected, match="2 weights for 3 risks"):
        plan_arms([Mean(weights=(1.0, 2.0))], THREE)


def test_every_registered_strategy_is_chosen_by_its_name_and_only_by_that() -> None:
    door: TypeAdapter[Strategy] = TypeAdapter(StrategySpec)
    for kind in get_args(AnyStrategy):
        assert type(door.validate_python({"name": kind().name})) is kind
    with pytest.raises(ValidationError):
        door.validate_python({"name": "sequental"})
    with pytest.raises(ValidationError):
        door.validate_python({"name": "joint", "replay": {"mode": "replay"}})


def test_every_strategy_plans_one_risk_too() -> None:
    for kind in get_args(AnyStrategy):
        arms = kind().arms(Task(risks=("tox",), tokens=4, orders="all"))
        assert [arm.stages for arm in arms] == [(TOX,)]
