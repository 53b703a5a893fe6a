"""Every file of `conf/` composes into settings that are valid, and none of them names code."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose import settings
from compose.conf_path import conf_folder
from compose.errors import Rejected
from compose.evaluate.utility import UtilitySpec
from compose.laboratory.spec import (
    AnchorSettings,
    BaselineSettings,
    EvaluationSettings,
    ExperimentSettings,
    InitSettings,
)
from compose.strategies import plan_arms
from compose.track import TrackSettings
from compose.training.references import BestOfN
from compose.training.settings import TrainSettings

FILES = sorted(conf_folder().rglob("*.yaml"))
EXPERIMENTS = sorted((conf_folder() / "experiment").glob("*.yaml"))
PLUGINS = {"submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Launchers that need an extra, with the plugin that brings them."""


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def installed(launcher: str) -> bool:
    plugin = PLUGINS.get(launcher)
    return plugin is None or find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is not None


def loaded(*overrides: str) -> ExperimentSettings:
    found = settings.load(settings.composed(overrides))
    assert plan_arms(found.strategies, found.task)
    return found


def content(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("group", ["model", "strategy", "trainer", "tracking", "experiment", "debug", "reference"])
def test_every_option_of_a_group_gives_valid_settings(group: str) -> None:
    for option in options(group):
        loaded(f"{group}={option}")


def test_every_risk_takes_the_place_of_its_name() -> None:
    for option in options("risk"):
        name = content(conf_folder() / "risk" / f"{option}.yaml")["name"]
        assert loaded(f"risk@risks.{name}={option}", f"order=[{name}]").risks[name].name == name


def test_every_reference_can_teach_one_risk_alone() -> None:
    for option in options("reference"):
        taught = loaded(f"reference@lessons.toxicity.reference={option}")
        assert taught.lessons["toxicity"].reference.kind == option
        assert taught.lessons["harmfulness"].reference.kind == "recorded"


def test_one_reference_for_every_risk_is_kept_apart_from_the_lessons_own() -> None:
    everywhere = loaded("reference=instructed").reference
    assert everywhere is not None
    assert everywhere.kind == "instructed"
    assert loaded().reference is None


@pytest.mark.parametrize("launcher", [name for name in options("launcher") if installed(name)])
def test_every_launcher_that_is_installed_composes(launcher: str) -> None:
    loaded(f"launcher={launcher}")


def test_every_launcher_file_says_only_how_jobs_are_started() -> None:
    for option in options("launcher"):
        assert set(content(conf_folder() / "launcher" / f"{option}.yaml")) <= {"defaults", "hydra"}


def test_experiments_answer_to_their_file_names_and_say_their_command() -> None:
    for path in EXPERIMENTS:
        assert loaded(f"experiment={path.stem}").name == path.stem
        assert f"python -m experiments.forgetting experiment={path.stem}" in path.read_text(encoding="utf-8")


def test_every_file_begins_by_saying_what_it_is_for() -> None:
    silent = [path.name for path in FILES if not path.read_text(encoding="utf-8").startswith("#")]
    assert silent == []


def test_no_settings_file_names_code() -> None:
    assert [path.name for path in FILES if "_target_" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("place", "record", "left_out"),
    [
        ("trainer", TrainSettings, set()),
        ("tracking", TrackSettings, set()),
        ("evaluation", EvaluationSettings, set()),
        ("baselines", BaselineSettings, set()),
        ("anchors", AnchorSettings, set()),
        ("utility", UtilitySpec, {"neutral"}),
    ],
)
def test_every_plain_knob_stands_in_conf_so_that_it_can_be_set_without_a_plus(
    place: str, record: type[Any], left_out: set[str]
) -> None:
    written = set(settings.plain(settings.composed([]))[place])
    assert {one.name for one in fields(record)} - written == left_out


def test_a_program_that_names_no_settings_gets_those_of_conf() -> None:
    shipped = loaded()
    assert TrainSettings() == shipped.trainer
    assert BestOfN() == shipped.lessons["toxicity"].reference
    assert InitSettings() == shipped.lessons["toxicity"].init


def test_orders_of_the_presets_are_those_their_headers_promise() -> None:
    two, three = loaded("experiment=two_risk"), loaded("experiment=three_risk", "orders=cyclic")
    orders = {arm.order for arm in plan_arms(three.strategies, three.task) if arm.strategy == "sequential"}
    assert len({order[-1] for order in orders}) == len(orders) == 3
    given = loaded("experiment=three_risk")
    by_strategy = {
        name: len({arm.order for arm in plan_arms(given.strategies, given.task) if arm.strategy == name})
        for name in ("concat", "stacked")
    }
    assert by_strategy == {"concat": 6, "stacked": 1}
    assert {arm.order for arm in plan_arms(two.strategies, two.task) if arm.strategy == "stacked"} == {
        ("toxicity", "gender_bias"),
        ("gender_bias", "toxicity"),
    }


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("order=[toxicity,malice]", "'malice'"),
        ("order=[]", "order"),
        ("order=[toxicity,toxicity]", "each once"),
        ("risks.toxicity.n_train=0", "risks.toxicity.n_train"),
        ("risks.toxicity.name=other", "risks.toxicity.name"),
        ("utility=null", "trainer.anchor_weight"),
        ("trainer.batch_size=1", "replay.ratio"),
        ("tokens=0", "tokens"),
        ("utility.judge=nobody", "judge is 'nobody'"),
        ("seed=-1", "seed"),
        ("seed=true", "seed"),
        ("trainer.dpo_lr=nan", "trainer.dpo_lr"),
        ("+trainer.extra=1", "trainer.extra"),
        ("lessons.toxicity.init.kind=text", "lessons.toxicity.init"),
        ("lessons.toxicity.init.kind=patch", "lessons.toxicity.init"),
        ("model.dtype=float8", "model.dtype"),
        ("runs=''", "runs"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_by_their_place(override: str, place: str) -> None:
    with pytest.raises(Rejected) as caught:
        loaded(override)
    assert caught.value.code == "settings-invalid"
    assert place in caught.value.got


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("sed=1", "did you mean 'seed'?"),
        ("trainer.dpo_step=1", "did you mean 'dpo_steps'?"),
        ("risks.toxicity.n_tests=1", "did you mean 'n_test'?"),
        ("lessons.toxicity.pairs.filters.margn=0", "did you mean 'margin'?"),
        ("utility.neutral.format=lines", "+utility.neutral"),
    ],
)
def test_an_override_of_no_key_gets_the_nearest_one(override: str, advice: str) -> None:
    with pytest.raises(Rejected) as caught:
        loaded(override)
    assert advice in caught.value.fix


@pytest.mark.parametrize(
    ("override", "options", "advice"),
    [
        ("experiment=four_risk", "quick, single_risk, three_risk, two_risk", "did you mean experiment=two_risk?"),
        ("model=smolm2", "smollm2", "did you mean model=smollm2?"),
        ("model=qqqq", "smollm2", "add conf/model/qqqq.yaml"),
    ],
)
def test_an_option_that_no_group_has_is_refused_with_those_it_has(override: str, options: str, advice: str) -> None:
    with pytest.raises(Rejected) as caught:
        loaded(override)
    assert options in caught.value.expected
    assert advice in caught.value.fix
