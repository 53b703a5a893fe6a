import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.risks import RiskSpec, Screen, load_risk, refuse_shared_prompts
from compose.evaluate.sources import BuiltinPrompts

Spec = Callable[..., RiskSpec]
Lines = Callable[..., dict[str, Any]]


def test_train_and_test_prompts_do_not_overlap_and_have_the_sizes_asked_for(make_spec: Spec) -> None:
    risk = load_risk(make_spec())
    train, test = {p.id for p in risk.train}, {p.id for p in risk.test}
    assert (len(train), len(test)) == (12, 8)
    assert not train & test
    assert risk.headline == "toxic_rate_per_prompt"
    assert risk.duplicates == 0
    assert risk.screening == ()


def test_the_split_is_the_same_every_time_and_changes_with_its_seed_only(make_spec: Spec) -> None:
    spec = make_spec()
    assert load_risk(spec).test == load_risk(spec).test
    assert load_risk(spec).test_digest == load_risk(dataclasses.replace(spec, samples=2)).test_digest
    assert load_risk(spec).test_digest != load_risk(dataclasses.replace(spec, split_seed=1)).test_digest


def test_test_prompts_are_in_no_order_of_the_file(make_spec: Spec) -> None:
    texts = [p.text for p in load_risk(make_spec()).test]
    assert texts != sorted(texts, key=lambda text: int(text.split()[2]))


def test_duplicates_are_left_out_and_counted(make_spec: Spec, write_lines: Lines) -> None:
    lines = [*(f"Line {n}" for n in range(6)), "line 3", "LINE  4"]
    risk = load_risk(make_spec(prompts=(write_lines("d.txt", lines),), n_train=3, n_test=3))
    assert risk.duplicates == 2
    assert len({p.text.casefold() for p in (*risk.train, *risk.test)}) == 6


def test_a_test_source_that_shares_a_prompt_with_the_train_source_is_refused(
    make_spec: Spec, write_lines: Lines
) -> None:
    train = write_lines("train.txt", ["one thing", "two things"])
    test = write_lines("test.txt", ["Two  THINGS", "three things"])
    with pytest.raises(Rejected) as caught:
        load_risk(make_spec(prompts=(train,), test_prompts=(test,), n_train=2, n_test=2))
    assert caught.value.code == "prompts-overlap"
    assert caught.value.got.startswith("1 in both")
    assert "things" not in str(caught.value)


def test_separate_sources_keep_to_their_sides(make_spec: Spec, write_lines: Lines) -> None:
    train = write_lines("train.txt", [f"train {n}" for n in range(4)])
    test = write_lines("test.txt", [f"test {n}" for n in range(4)])
    risk = load_risk(make_spec(prompts=(train,), test_prompts=(test,), n_train=3, n_test=2))
    assert {p.text.split()[0] for p in risk.train} == {"train"}
    assert {p.text.split()[0] for p in risk.test} == {"test"}


def test_one_risks_test_prompts_may_not_be_anothers_train_prompts(make_spec: Spec, write_lines: Lines) -> None:
    source = write_lines("shared.txt", [f"line {n}" for n in range(20)])
    one = load_risk(make_spec(name="one", prompts=(source,), n_train=10, n_test=5))
    alike = load_risk(make_spec(name="alike", prompts=(source,), n_train=10, n_test=5))
    refuse_shared_prompts([one, alike])  # split alike: what is tested with is trained on by neither
    other = load_risk(make_spec(name="other", prompts=(source,), n_train=10, n_test=5, split_seed=7))
    with pytest.raises(Rejected, match="prompts-overlap") as refusal:
        refuse_shared_prompts([one, other])
    assert "one" in refusal.value.subject
    assert "other" in refusal.value.subject


def test_an_empty_risk_set_is_refused(make_spec: Spec, write_lines: Lines) -> None:
    with pytest.raises(Rejected, match="prompts-empty"):
        load_risk(make_spec(prompts=(write_lines("empty.txt", ["", "  "]),)))
    with pytest.raises(ValidationError):
        make_spec(prompts=())


def test_too_few_prompts_are_refused_with_the_numbers(make_spec: Spec, write_lines: Lines) -> None:
    with pytest.raises(Rejected, match=r"n_train 15 \+ n_test 8"):
        load_risk(make_spec(n_train=15))
    sides = {"prompts": (write_lines("a.txt", ["a"]),), "test_prompts": (write_lines("b.txt", ["b"]),)}
    with pytest.raises(Rejected, match="test prompts"):
        load_risk(make_spec(**sides, n_train=1, n_test=2))


def test_prompts_of_one_profession_stay_on_one_side(make_spec: Spec) -> None:
    spec = make_spec(prompts=(BuiltinPrompts(name="professions"),), by_group=True, n_train=600, n_test=60)
    risk = load_risk(spec)
    train, test = {p.group for p in risk.train}, {p.group for p in risk.test}
    assert not train & test
    assert len(test) >= 4
    assert (len(risk.train), len(risk.test)) == (600, 60)


def test_requests_are_put_as_messages_when_the_settings_say_so(make_spec: Spec) -> None:
    assert all(p.chat for p in load_risk(make_spec(chat=True)).test)


def test_a_screened_risk_needs_a_base(make_spec: Spec) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        load_risk(make_spec(screen=Screen()))


@pytest.mark.parametrize(
    "fields",
    [
        {"judge": "perspective"},
        {"kind": "rudeness"},
        {"n_test": 0},
        {"threshold": 0.0},
        {"threshold": float("nan")},
        {"sampling": Sampling(temperature=0.0), "samples": 5},
        {"name": "Two words"},
        {"sample": 3},
    ],
)
def test_a_wrong_setting_is_refused_at_start(make_spec: Spec, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_spec(**fields)
