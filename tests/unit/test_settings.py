"""What the door between Hydra and the program lets through, and how it says no."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.errors import Rejected
from compose.records import SETTINGS
from compose.settings import as_yaml, checked, from_composition, plain, run_key, unknown_override


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Cat:
    kind: Literal["cat"] = "cat"
    whiskers: int = 24


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Dog:
    kind: Literal["dog"] = "dog"
    temper: Literal["calm", "wild"] = "calm"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Rules:
    limit: Annotated[float, Field(gt=0, le=1)] = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Zoo:
    seed: int
    rules: Rules = field(default_factory=Rules)
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] = ()
    by_name: dict[str, Rules] = field(default_factory=dict)
    guard: Dog | None = None


def rejected(**values: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        checked(Zoo, values)
    assert caught.value.code == "settings-invalid"
    return caught.value


def test_plain_values_fill_nested_records() -> None:
    zoo = checked(
        Zoo,
        {
            "seed": 3,
            "rules": {"limit": 1, "names": ["a", "b"]},
            "pets": [{"kind": "dog", "temper": "wild"}, {"kind": "cat"}],
            "by_name": {"x": {"limit": 0.25}},
        },
    )
    assert zoo == Zoo(
        seed=3,
        rules=Rules(limit=1.0, names=("a", "b")),
        pets=(Dog(temper="wild"), Cat()),
        by_name={"x": Rules(limit=0.25)},
    )


@pytest.mark.parametrize("value", ["3", True, 3.5, None])
def test_nothing_is_coerced(value: object) -> None:
    assert "seed" in rejected(seed=value).got


def test_an_unknown_key_is_named_with_its_path_and_the_nearest_key_of_that_place() -> None:
    error = rejected(seed=0, rules={"limt": 0.5})
    assert error.got == "rules.limt: unknown key"
    assert error.fix == "rules.limt: did you mean 'limit'?"


def test_an_unknown_key_in_a_variant_is_named_as_the_user_wrote_it() -> None:
    error = rejected(seed=0, pets=[{"kind": "cat"}, {"kind": "dog", "tempr": "calm"}])
    assert error.got == "pets.1.tempr: unknown key"
    assert error.fix == "pets.1.tempr: did you mean 'temper'?"


def test_an_unknown_key_in_a_mapping_of_records_is_found_too() -> None:
    assert "by_name.x.limt: did you mean 'limit'?" in rejected(seed=0, by_name={"x": {"limt": 1}}).fix


def test_an_unknown_key_in_an_optional_record_is_found_too() -> None:
    assert "guard.tempr: did you mean 'temper'?" in rejected(seed=0, guard={"tempr": "calm"}).fix


def test_a_key_near_none_lists_the_keys_of_that_place() -> None:
    assert rejected(seed=0, rules={"zzz": 1}).fix == "rules.zzz: the keys here are limit, names"


def test_a_wrong_choice_names_the_choices_and_the_nearest() -> None:
    error = rejected(seed=0, pets=[{"kind": "dog", "temper": "calmm"}])
    assert "pets.0.temper" in error.got
    assert "'calm' or 'wild'" in error.got
    assert "did you mean 'calm'?" in error.fix


def test_a_wrong_variant_names_the_variants_and_the_nearest() -> None:
    error = rejected(seed=0, pets=[{"kind": "dogg"}])
    assert "'cat', 'dog'" in error.got
    assert "did you mean 'dog'?" in error.fix


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan"), float("inf"), "half", True])
def test_a_value_out_of_range_or_of_another_type_is_refused(value: object) -> None:
    assert "rules.limit" in rejected(seed=0, rules={"limit": value}).got


def test_every_mistake_is_in_one_message() -> None:
    error = rejected(sed=1, rules={"limit": 7, "name": []}, pets=[{"kind": "cow"}])
    for place in ("seed: missing", "sed: unknown key", "rules.limit", "rules.name: unknown key", "pets.0"):
        assert place in error.got
    assert "sed: did you mean 'seed'?" in error.fix


def test_a_mandatory_value_that_nobody_set_is_said_to_be_unset() -> None:
    error = rejected(seed="???")
    assert error.got == "seed: not set"
    assert error.fix == "seed: give it a value"


def test_interpolations_are_resolved_and_one_that_leads_nowhere_is_refused() -> None:
    assert plain(OmegaConf.create({"a": 1, "b": "${a}"})) == {"a": 1, "b": 1}
    with pytest.raises(Rejected, match="nowhere"):
        plain(OmegaConf.create({"b": "${nowhere}"}))


def test_the_run_key_depends_on_the_seed_and_not_on_places() -> None:
    values = {"seed": 0, "tokens": 4, "runs": "here", "device": None, "tracking": {"mode": "offline"}}
    assert run_key(values) == run_key({**values, "runs": "there", "tracking": {}})
    assert run_key(values) != run_key({**values, "device": "cuda"})  # `dtype: auto` rounds otherwise there
    assert run_key(values) == run_key(dict(reversed(values.items())))
    assert run_key(values) != run_key({**values, "seed": 1})


def test_the_run_key_depends_on_the_contents_of_files_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one")
    (tmp_path / "patch").mkdir()
    asset = {"source": "path", "path": str(tmp_path / "prompts.txt")}
    values = {"risks": {"mine": {"sources": [{"asset": asset}]}}, "lessons": {"patch": str(tmp_path / "patch")}}
    before = run_key(values)
    assert run_key(values) == before
    (tmp_path / "prompts.txt").write_text("two")
    edited = run_key(values)
    (tmp_path / "patch" / "patch.json").write_text("{}")
    assert len({before, edited, run_key(values)}) == 3


def test_an_override_that_hydra_does_not_know_gets_the_nearest_key_at_its_place() -> None:
    error = unknown_override(Zoo, "rules.limt")
    assert (error.got, error.fix) == ("unknown key rules.limt", "did you mean 'limit'?")


def test_an_override_of_a_key_that_no_file_sets_says_how_to_add_it() -> None:
    assert unknown_override(Zoo, "rules.limit").fix.startswith("write +rules.limit=...")


def test_other_words_of_hydra_are_passed_on_in_one_line() -> None:
    error = from_composition(Exception("mismatched input\n   'x'   expecting '='"))
    assert error.got == "mismatched input 'x' expecting '='"


def test_a_launcher_that_is_not_installed_says_how_to_install_it() -> None:
    assert "make launchers" in from_composition(ValueError("Could not find 'hydra/launcher/ray'")).fix


def test_the_settings_that_are_written_down_read_back() -> None:
    values = {"a": [1, 2], "b": {"c": None, "d": "text"}}
    read = OmegaConf.create(as_yaml(values))
    assert isinstance(read, DictConfig)
    assert plain(read) == values
