"""The settings of base models: every file in conf/model/ is valid, and mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compose import base_spec
from compose.assets.source import Hub, Wheel, Wheels
from compose.base_spec import BaseSpec, known_models, read_spec
from compose.errors import Rejected
from compose.validated import validated

LOCAL = {"source": "path", "path": "~/model"}


def spec(**values: Any) -> BaseSpec:
    given = {"name": "mine", "format": "safetensors", "licence": "MIT", "asset": LOCAL, **values}
    return validated(BaseSpec, given, subject="test.yaml")


@pytest.mark.parametrize("name", known_models())
def test_every_model_file_is_valid_and_named_like_its_file(name: str) -> None:
    assert read_spec(name).name == name


def test_the_models_of_the_paper_and_the_embedded_ones_are_there() -> None:
    wanted = {"smollm2", "gemma3_270m", "tiny", "llama2_7b", "llama2_7b_chat", "llama2_7b_shape", "llama3_8b"}
    wanted |= {"llama3_8b_instruct", "aya23_8b", "vicuna_7b", "vicuna_13b", "mistral_7b", "gemma2_9b"}
    assert wanted <= set(known_models())


def test_the_embedded_models_come_from_wheels_and_the_large_ones_from_the_hub() -> None:
    assert isinstance(read_spec("smollm2").asset, Wheel)
    assert isinstance(read_spec("gemma3_270m").asset, Wheels)
    assert isinstance(read_spec("llama2_7b").asset, Hub)


def test_the_timing_shape_has_the_parameters_of_llama_2_7b() -> None:
    shape = read_spec("llama2_7b_shape").shape
    assert shape is not None
    assert shape.in_memory
    assert shape.vocabulary is not None
    attention = 2 * shape.hidden**2 + 2 * shape.hidden**2 * shape.kv_heads // shape.heads
    layer = attention + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
    total = shape.layers * layer + 2 * shape.vocabulary * shape.hidden + shape.hidden
    assert total == 6_738_415_616  # as the Llama 2 paper's "7B" is counted by transformers


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(Rejected, match="smollm2, tiny"):
        read_spec("smolm2")


@pytest.mark.parametrize("name", ["../x", "model/tiny", ""])
def test_a_name_that_is_a_path_is_an_unknown_model(name: str) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        read_spec(name)


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(Rejected, match="'dtyp' may mean 'dtype'"):
        spec(dtyp="float32")
    with pytest.raises(Rejected, match="'pth' may mean 'path'"):
        spec(asset={**LOCAL, "pth": "x"})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"dtype": "int8"}, "dtype"),
        ({"name": "Has Capitals"}, "name"),
        ({"attention": "none"}, "attention"),
        ({"load_in_4bit": "perhaps"}, "load_in_4bit"),
        ({"asset": None}, "needs an asset"),
        ({"format": "random"}, "needs a shape"),
        ({"format": "gguf", "shape": {}}, "shape.hidden"),
    ],
)
def test_a_wrong_value_is_refused_and_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Rejected, match="settings-invalid") as caught:
        spec(**values)
    assert named in caught.value.got


def test_a_model_file_that_is_no_yaml_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "broken.yaml").write_text("name: [")
    (tmp_path / "model" / "empty.yaml").write_text("")
    monkeypatch.setattr(base_spec, "conf_folder", lambda: tmp_path)
    with pytest.raises(Rejected, match="line 1"):
        read_spec("broken")
    with pytest.raises(Rejected, match="NoneType"):
        read_spec("empty")
