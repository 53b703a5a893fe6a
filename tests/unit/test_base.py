"""Base models: fetched, converted or made once, noticed when damaged, loaded frozen."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from compose import base as module
from compose.assets.source import Hub, Local
from compose.base import Base, BaseSpec, load_base, prepare_folder, read_spec, stop_ids
from compose.errors import Rejected
from compose.fingerprint import fingerprint, fingerprint_parts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COMPOSE_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def tiny() -> Base:
    return load_base("tiny", "cpu")


def local(folder: Path, **values: Any) -> BaseSpec:
    given: dict[str, Any] = {"name": "mine", "format": "safetensors", "licence": "none", "dtype": "float32"}
    return BaseSpec(**{**given, "asset": Local(path=str(folder)), **values})


def count_makes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    original = module._make

    def counted(spec: BaseSpec, folder: Path, cache: Path | None) -> None:
        made.append(spec.name)
        original(spec, folder, cache)

    monkeypatch.setattr(module, "_make", counted)
    return made


def test_a_loaded_base_is_frozen_and_in_eval_mode(tiny: Base) -> None:
    assert not tiny.model.training
    assert not any(parameter.requires_grad for parameter in tiny.model.parameters())
    assert tiny.model.dtype == torch.float32


def test_tied_embeddings_are_tied_after_loading(tiny: Base) -> None:
    assert tiny.model.get_output_embeddings().weight is tiny.model.get_input_embeddings().weight


def test_a_base_knows_its_name_its_folder_and_that_folders_fingerprint(tiny: Base, cache: Path) -> None:
    assert tiny.name == "tiny"
    assert tiny.folder.is_relative_to(cache / "models")
    assert tiny.fingerprint == fingerprint(tiny.folder)


def test_the_folder_is_one_that_transformers_can_load(tiny: Base) -> None:
    ids = AutoTokenizer.from_pretrained(tiny.folder)("he said", return_tensors="pt").input_ids
    other = AutoModelForCausalLM.from_pretrained(tiny.folder)
    assert torch.equal(other(ids).logits, tiny.model(ids).logits)


def test_the_same_base_has_the_same_fingerprint_in_another_cache_and_type(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE_CACHE", str(tmp_path / "other"))
    again = load_base(dataclasses.replace(read_spec("tiny"), dtype="bfloat16"), "cpu")
    assert again.model.dtype == torch.bfloat16
    assert again.fingerprint == tiny.fingerprint


def test_another_seed_is_another_base_that_differs_in_its_weights_alone(tiny: Base) -> None:
    spec = read_spec("tiny")
    assert spec.shape is not None
    other = prepare_folder(dataclasses.replace(spec, shape=dataclasses.replace(spec.shape, seed=1)))
    one, two = fingerprint_parts(tiny.folder), fingerprint_parts(other)
    assert {name for name in one if one[name] != two[name]} == {"weights"}


def test_a_folder_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_makes(monkeypatch)
    assert prepare_folder(read_spec("tiny")) == prepare_folder(read_spec("tiny"))
    assert made == ["tiny"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "no tokenizer", "no note", "torn note", "no weights"])
def test_a_damaged_folder_is_made_again(tiny: Base, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    weights = tiny.folder / "model.safetensors"
    note = tiny.folder.with_name(f"{tiny.folder.name}.json")
    data = bytearray(weights.read_bytes())
    if damage == "flipped":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(data[:-8])
    elif damage == "no tokenizer":
        (tiny.folder / "tokenizer.json").unlink()
    elif damage == "no note":
        note.unlink()
    elif damage == "torn note":
        note.write_text('{"parts"')
    else:
        weights.unlink()
    made = count_makes(monkeypatch)
    assert load_base("tiny", "cpu").fingerprint == tiny.fingerprint
    assert made == ["tiny"]


def test_making_that_is_interrupted_leaves_no_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(spec: BaseSpec, folder: Path, cache: Path | None) -> None:
        (folder / "config.json").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_make", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_folder(read_spec("tiny"))
    assert [path for path in (cache / "models").iterdir() if path.suffix != ".lock"] == []
    assert prepare_folder(read_spec("tiny")).is_dir()


def test_a_model_folder_of_the_user_is_loaded_where_it_is(tiny: Base, tmp_path: Path) -> None:
    mine = shutil.copytree(tiny.folder, tmp_path / "mine")
    base = load_base(local(mine), "cpu")
    assert base.folder == mine
    assert base.fingerprint == tiny.fingerprint


def test_a_model_folder_with_pickled_weights_is_refused(tiny: Base, tmp_path: Path) -> None:
    mine = shutil.copytree(tiny.folder, tmp_path / "mine")
    (mine / "model.safetensors").rename(mine / "pytorch_model.bin")
    with pytest.raises(Rejected, match="unsafe-weights"):
        load_base(local(mine), "cpu")


def test_a_file_where_a_folder_is_needed_and_a_folder_where_a_file_is_needed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(Rejected, match="format: gguf"):
        prepare_folder(local(tmp_path / "x"))
    with pytest.raises(Rejected, match="format: safetensors"):
        prepare_folder(local(tmp_path, format="gguf"))


def test_a_gguf_file_is_converted_once_for_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_base("tiny", "cpu").folder
    converted: list[bytes] = []

    def convert(gguf_file: Path, folder: Path) -> None:
        converted.append(gguf_file.read_bytes())
        shutil.copytree(made, folder, dirs_exist_ok=True)

    monkeypatch.setattr(module, "convert_into", convert)
    (tmp_path / "x.gguf").write_bytes(b"one")
    first = prepare_folder(local(tmp_path / "x.gguf", format="gguf"))
    assert prepare_folder(local(tmp_path / "x.gguf", format="gguf")) == first
    (tmp_path / "x.gguf").write_bytes(b"two")
    assert prepare_folder(local(tmp_path / "x.gguf", format="gguf")) != first
    assert converted == [b"one", b"two"]


def test_a_converted_base_needs_its_gguf_file_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_base("tiny", "cpu").folder
    monkeypatch.setattr(module, "convert_into", lambda _, to: shutil.copytree(made, to, dirs_exist_ok=True))
    file = tmp_path / "x.gguf"
    file.write_bytes(b"one")
    pinned = Local(path=str(file), sha256="7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed")
    first = prepare_folder(local(file, format="gguf", asset=pinned))
    file.unlink()
    assert prepare_folder(local(file, format="gguf", asset=pinned)) == first


def test_a_large_shape_lives_in_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_spec("tiny")
    assert spec.shape is not None
    shape = dataclasses.replace(spec.shape, in_memory=True, vocabulary=512, tied=False)
    spec = dataclasses.replace(spec, shape=shape, dtype="bfloat16", attention="eager")
    base = load_base(spec, "cpu")
    assert sorted(path.suffix for path in base.folder.iterdir() if "safetensors" in path.name) == []
    assert base.model.dtype == torch.bfloat16
    assert base.model.config.vocab_size == 512
    assert base.model.config._attn_implementation == "eager"
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert load_base(spec, "cpu").fingerprint == base.fingerprint
    other = dataclasses.replace(spec, shape=dataclasses.replace(shape, seed=1))
    assert load_base(other, "cpu").fingerprint != base.fingerprint


def test_a_tokenizer_without_padding_gets_a_token_it_already_has(tiny: Base, tmp_path: Path) -> None:
    mine = shutil.copytree(tiny.folder, tmp_path / "mine")
    settings = json.loads((mine / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (mine / "tokenizer_config.json").write_text(json.dumps(settings))
    base = load_base(local(mine), "cpu")
    assert base.tokenizer.pad_token == base.tokenizer.eos_token
    assert len(base.tokenizer) == base.model.config.vocab_size


def test_four_bits_are_refused_without_cuda_before_anything_is_loaded(tiny: Base) -> None:
    with pytest.raises(Rejected, match="load_in_4bit"):
        load_base(local(tiny.folder, load_in_4bit=True), "cpu")


def test_the_settings_reach_transformers(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def loaded(folder: Path, **options: Any) -> Any:
        given.update(options)
        return tiny.model

    monkeypatch.setattr("compose.base.AutoModelForCausalLM.from_pretrained", loaded)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    load_base(local(tiny.folder, dtype="float16", attention="eager", load_in_4bit=True), "cuda:1")
    assert given["dtype"] == torch.float16
    assert given["attn_implementation"] == "eager"
    assert given["use_safetensors"] is True
    assert given["device_map"] == {"": "cuda:1"}
    assert given["quantization_config"].bnb_4bit_quant_type == "nf4"
    given.clear()
    load_base(local(tiny.folder, device_map="auto"), "cpu")
    assert given["device_map"] == "auto"
    assert "quantization_config" not in given


def test_a_hub_base_that_is_not_at_hand_offline_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    spec = dataclasses.replace(read_spec("llama2_7b"), asset=Hub(repo="nobody/nothing"))
    with pytest.raises(Rejected, match="hf download nobody/nothing"):
        prepare_folder(spec)


def test_a_generation_stops_at_every_end_the_model_or_its_tokenizer_names(tiny: Base) -> None:
    assert stop_ids(tiny) == {2}
    tiny.model.generation_config.eos_token_id = [0, 2]
    assert stop_ids(tiny) == {0, 2}
    tiny.model.generation_config.eos_token_id = None
    assert stop_ids(tiny) == {2}
