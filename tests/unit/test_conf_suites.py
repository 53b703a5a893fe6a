"""Every file of `conf/suite/` composes into a suite whose parts are what its words say."""

from __future__ import annotations

import pytest

from compose.conf_path import conf_folder
from compose.errors import Rejected
from compose.evaluate.risks import load_risk
from compose.evaluate.suites import SuiteSpec
from compose.settings import known_suites, suite


@pytest.mark.parametrize("name", known_suites())
def test_every_suite_is_valid_and_answers_to_its_file_name(name: str) -> None:
    spec = suite(name, [])
    assert spec.name == name
    assert spec.title
    assert all(risk.screen is None for risk in spec.risks.values()), "a suite takes prompts as they come"
    text = (conf_folder() / "suite" / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"compose evaluate --patch DIR --suite {name}" in text


def test_every_knob_of_a_suite_can_be_set_without_a_plus() -> None:
    for name in known_suites():
        text = (conf_folder() / "suite" / f"{name}.yaml").read_text(encoding="utf-8")
        for key in SuiteSpec.__dataclass_fields__:
            assert f"\n{key}:" in text or f"@{key}:" in text, f"{name}: {key}"


@pytest.mark.parametrize(
    ("part", "trained"), [("toxicity.rtp", "toxicity"), ("gender_bias.professions", "gender_bias")]
)
def test_no_prompt_of_a_default_suite_is_one_that_the_default_training_uses(part: str, trained: str) -> None:
    from compose import settings

    name, _, risk = part.partition(".")
    tested = load_risk(suite(name, []).risks[risk])
    training = settings.load(settings.composed([])).risks[trained]
    taught = load_risk(
        settings.checked(type(training), {**settings.plain(settings.composed([]))["risks"][trained], "screen": None})
    )
    assert not {prompt.id for prompt in taught.train} & {prompt.id for prompt in tested.test}
    assert {prompt.id for prompt in taught.test} <= {prompt.id for prompt in tested.test}


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(Rejected) as caught:
        suite("toxicty", [])
    assert caught.value.code == "settings-invalid"
    assert "did you mean toxicity?" in caught.value.fix
