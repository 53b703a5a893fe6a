"""From plans to patches on the tiny base: what is trained, from where, and what is not trained again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compose.artifact import Patch, prefix_digest, save
from compose.base import Base
from compose.engine.self_test import run_self_test
from compose.laboratory.realise import Made, Realiser, Teaching
from compose.laboratory.shelf import Shelf
from compose.laboratory.spec import InitSettings
from compose.laboratory.starts import fresh_starts, start_claim
from compose.parse import revise
from compose.records import BaseRef
from compose.strategies import Arm, ReplaySpec, Stage, Task, plan_arms
from compose.strategies.concat import Concat
from compose.strategies.joint import Joint
from compose.strategies.mean import Mean
from compose.strategies.plan import Strategy
from compose.strategies.sequential import Sequential
from compose.strategies.stacked import Stacked
from compose.training.anchors import Anchor, AnchorSet
from compose.training.pairs import PairSet
from compose.training.settings import TrainSettings
from compose.training.stage import train_stage

TRAIN = "compose.laboratory.realise.train_stage"
TASK = Task(risks=("tox", "bias"), tokens=3)
INITS = {risk: InitSettings(kind="text", text=text) for risk, text in (("tox", "Be polite."), ("bias", "Be fair."))}
REPLAY = ReplaySpec(mode="replay", ratio=0.5, capacity=4)
EVERY: tuple[Strategy, ...] = (Concat(orders="given"), Mean(), Joint(), Sequential(replay=REPLAY), Stacked())


@pytest.fixture
def teaching(tiny: Base, make_pairs: Callable[..., PairSet]) -> Teaching:
    return Teaching(
        base=tiny,
        pairs={"tox": make_pairs("tox", 6), "bias": make_pairs("bias", 6)},
        anchors=AnchorSet((Anchor((11, 12), (13, 14)), Anchor((15,), (16, 17, 18)))),
        settings=TrainSettings(sft_steps=1, dpo_steps=2, batch_size=2, anchor_weight=1.0, snapshots=1),
        start=fresh_starts(tiny, INITS, 0),
        starts={risk: {"text": init.text} for risk, init in INITS.items()},
        efforts={"tox": 1.0, "bias": 1.0},
        seed=0,
    )


def by_name(arms: Sequence[Arm], made: dict[Stage, Made]) -> dict[str, Patch]:
    return {arm.stage_name(i): made[stage].patch for arm in arms for i, stage in enumerate(arm.stages)}


def test_every_strategy_is_realised_and_its_cards_say_how(teaching: Teaching, tmp_path: Path) -> None:
    arms = plan_arms(EVERY, TASK)
    made = Realiser(teaching, Shelf(tmp_path)).run(arms)
    patches = by_name(arms, made)
    tox, bias = patches["specialist-tox"], patches["specialist-bias"]
    sequential, stacked = patches["sequential-replay-tox-bias"], patches["stacked-tox-bias"]
    joint, concat, mean = patches["joint-tox-bias"], patches["concat-tox-bias"], patches["mean-tox-bias"]

    assert [patch.card.tokens for patch in (tox, sequential, stacked, joint, concat, mean)] == [3, 3, 6, 6, 6, 3]
    assert torch.equal(concat.prefix, torch.cat([tox.prefix, bias.prefix]))
    assert torch.equal(mean.prefix, ((tox.prefix.double() + bias.prefix.double()) / 2).float())
    assert torch.equal(stacked.prefix[:3], tox.prefix)
    assert not torch.equal(sequential.prefix, tox.prefix)
    for name, patch in patches.items():
        assert patch.card.name == name
        assert patch.card.self_test is not None
        run_self_test(teaching.base.model, patch.prefix, patch.card.self_test, name)

    assert sequential.card.parents == (tox.card.reference,)
    assert sequential.card.init is not None
    assert sequential.card.init.digest == prefix_digest(tox.prefix)
    assert sequential.card.risks == ("tox", "bias")
    assert set(sequential.card.data) == {"tox", "bias", "anchors"}
    assert sequential.card.training["dpo_steps"] == 4
    assert sequential.card.training["pairs_judged_by"] == {"tox": "j 1", "bias": "j 1"}
    assert tox.card.init is not None
    assert (tox.card.strategy, tox.card.init.text, tox.card.parents) == ("specialist", "Be polite.", ())
    assert concat.card.expression is not None
    assert concat.card.parents == (tox.card.reference, bias.card.reference)


def test_shared_stages_are_trained_once_and_a_second_job_trains_none(
    teaching: Teaching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(kwargs["folder"])
        return train_stage(*args, **kwargs)

    monkeypatch.setattr(TRAIN, counted)
    arms = plan_arms(EVERY, TASK)
    first = by_name(arms, Realiser(teaching, Shelf(tmp_path)).run(arms))
    assert len(trained) == 5  # two specialists, joint, and the second stages of sequential and stacked
    again = by_name(arms, Realiser(teaching, Shelf(tmp_path)).run(arms))
    assert len(trained) == 5
    assert {name: patch.card for name, patch in again.items()} == {name: p.card for name, p in first.items()}


def test_another_seed_trains_anew_and_another_checkpoint_interval_does_not(teaching: Teaching) -> None:
    (stage,) = plan_arms([], Task(risks=("tox",), tokens=3))[0].stages
    assert replace(teaching, seed=1).key(stage) != teaching.key(stage)
    often = replace(teaching, settings=replace(teaching.settings, checkpoint_every=1))
    assert often.key(stage) == teaching.key(stage)
    hotter = replace(teaching, settings=replace(teaching.settings, beta=0.3))
    assert hotter.key(stage) != teaching.key(stage)
    assert replace(teaching, anchors=None).key(stage) != teaching.key(stage)


def test_an_interrupted_stage_goes_on_and_ends_where_it_would_have(
    teaching: Teaching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = plan_arms([], TASK)
    whole = by_name(arms, Realiser(teaching, Shelf(tmp_path / "whole")).run(arms))
    calls = [0]

    def broken(*args: Any, **kwargs: Any) -> Any:
        def interrupt(phase: str, step: int) -> None:
            calls[0] += 1
            if calls[0] == 5:  # inside the second stage: after its SFT and one step of its DPO
                raise KeyboardInterrupt

        return train_stage(*args, **{**kwargs, "on_step": interrupt})

    shelf = Shelf(tmp_path / "parts")
    with monkeypatch.context() as patched:
        patched.setattr(TRAIN, broken)
        with pytest.raises(KeyboardInterrupt):
            Realiser(teaching, shelf).run(arms)
    stages = [arm.stages[0] for arm in arms]
    assert shelf.get(teaching.key(stages[0])) is not None
    assert shelf.get(teaching.key(stages[1])) is None
    assert shelf.work(teaching.key(stages[1])).is_dir()

    resumed = by_name(arms, Realiser(teaching, shelf).run(arms))
    for name, patch in whole.items():
        assert torch.equal(resumed[name].prefix, patch.prefix)


def test_a_stage_begins_where_its_parent_ended_or_behind_it(teaching: Teaching, tmp_path: Path) -> None:
    arms = plan_arms([Sequential(), Stacked()], TASK)
    realiser = Realiser(teaching, Shelf(tmp_path))
    made = realiser.run(arms)
    patches = by_name(arms, made)
    sequential, stacked = (next(a for a in arms if a.strategy == name) for name in ("sequential", "stacked"))
    bias_start, _ = teaching.start(arms[1].stages[0])  # type: ignore[arg-type]
    tox = patches["specialist-tox"].prefix
    assert torch.equal(realiser.beginning(sequential.stages[1]), tox)  # type: ignore[arg-type]
    assert torch.equal(realiser.beginning(stacked.stages[1]), torch.cat([tox, bias_start]))  # type: ignore[arg-type]


def test_a_joint_patch_starts_where_its_specialists_would_one_behind_the_other(teaching: Teaching) -> None:
    arms = {arm.name: arm for arm in plan_arms([Joint()], TASK)}
    starts = {name: teaching.start(arm.stages[0]) for name, arm in arms.items()}  # type: ignore[arg-type]
    joint, info = starts["joint-tox-bias"]
    parts = [starts[f"specialist-{risk}"][0] for risk in ("tox", "bias")]
    assert torch.equal(joint, torch.cat(parts))
    assert (info.kind, info.text) == ("text", "Be polite. | Be fair.")


def test_sampled_starts_are_one_matrix_for_all_specialists_of_a_seed(tiny: Base) -> None:
    inits = {risk: InitSettings(kind="vocab", text=None) for risk in ("tox", "bias")}
    (first, second), other = (
        [fresh_starts(tiny, inits, seed)(arm.stages[0])[0] for arm in plan_arms([], TASK)]  # type: ignore[arg-type]
        for seed in (0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other[0])


def test_a_stage_may_start_from_the_rows_of_a_finished_patch(
    tiny: Base, make_patch: Callable[..., Patch], tmp_path: Path
) -> None:
    dim = tiny.model.get_input_embeddings().weight.shape[1]
    finished = make_patch(
        [[0.1 * row] * dim for row in (1.0, 2.0, 3.0)], base=BaseRef(name="tiny", fingerprint=tiny.fingerprint)
    )
    folder = save(finished, tmp_path / "finished")
    init = InitSettings(kind="patch", patch=str(folder))
    (stage,) = plan_arms([], Task(risks=("tox",), tokens=3))[0].stages
    prefix, info = fresh_starts(tiny, {"tox": init}, 0)(stage)  # type: ignore[arg-type]
    assert torch.equal(prefix, finished.prefix)
    assert (info.kind, info.digest) == ("patch", finished.card.prefix)
    copy = save(finished, tmp_path / "copy")
    assert start_claim(init) == start_claim(InitSettings(kind="patch", patch=str(copy)))


def test_a_patch_off_the_shelf_that_gives_other_logits_here_is_made_again(
    teaching: Teaching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms, shelf = plan_arms([], Task(risks=("tox",), tokens=3)), Shelf(tmp_path)
    made = by_name(arms, Realiser(teaching, shelf).run(arms))["specialist-tox"]
    key = teaching.key(arms[0].stages[0])
    kept, test = shelf.get(key), made.card.self_test
    assert kept is not None
    assert test is not None
    off = tuple(tuple(value + 5 * test.tolerance for value in row) for row in test.patched)
    card = revise(made.card, self_test=test.model_copy(update={"patched": off}))
    shelf.put(key, replace(kept, patch=Patch(made.prefix, card)))
    again = by_name(arms, Realiser(teaching, shelf).run(arms))["specialist-tox"]
    assert torch.equal(again.prefix, made.prefix)
    assert "specialist-tox is made again: logits that are off" in capsys.readouterr().err
