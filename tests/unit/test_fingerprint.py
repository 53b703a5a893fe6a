"""Fingerprints: what changes them, what does not, and which folders get none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from compose import fingerprint as module
from compose.digest import of_json
from compose.errors import Rejected
from compose.fingerprint import combine, fingerprint, fingerprint_parts

WEIGHTS = {
    "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b.weight": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    "c.weight": torch.zeros(0, 4),
}
CONFIG = {"model_type": "llama", "hidden_size": 3}
TOKENIZER = {"version": "1.0", "truncation": None, "padding": None, "model": {"vocab": {"a": 0}}}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_CACHE", str(tmp_path / "cache"))


def write(folder: Path, **changed: Any) -> Path:
    """Return a small model folder; the arguments replace its parts."""
    folder.mkdir(exist_ok=True)
    save_file(changed.get("weights", WEIGHTS), folder / "model.safetensors", metadata={"format": "pt"})
    for name, value in (("config", CONFIG), ("tokenizer", TOKENIZER), ("tokenizer_config", {"eos_token": "a"})):
        (folder / f"{name}.json").write_text(json.dumps(changed.get(name, value)))
    (folder / "chat_template.jinja").write_text(changed.get("template", "hi"))
    return folder


def write_shards(folder: Path, assignment: dict[str, str]) -> Path:
    """Return the small model folder with its weights spread over files: file name by tensor name."""
    write(folder)
    (folder / "model.safetensors").unlink()
    for file in set(assignment.values()):
        shard = {name: WEIGHTS[name] for name, where in assignment.items() if where == file}
        save_file(shard, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": assignment}))
    return folder


def differing(one: Path, other: Path) -> set[str]:
    first, second = fingerprint_parts(one), fingerprint_parts(other)
    return {name for name in first if first[name] != second[name]}


def test_the_weights_digest_is_that_of_every_tensors_bytes_in_the_order_of_names(tmp_path: Path) -> None:
    def sha(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    a = torch.arange(6, dtype=torch.float32).numpy().tobytes()
    b = bytes([0x80, 0x3F, 0x00, 0x40])  # bfloat16 1.0 is 0x3F80 and 2.0 is 0x4000, low byte first
    expected = of_json(
        [
            ["a.weight", "F32", [2, 3], sha(a)],
            ["b.weight", "BF16", [2], sha(b)],
            ["c.weight", "F32", [0, 4], sha(b"")],
        ]
    )
    assert fingerprint_parts(write(tmp_path / "m"))["weights"] == expected


def test_the_fingerprint_is_the_digest_of_its_four_parts(tmp_path: Path) -> None:
    folder = write(tmp_path / "m")
    parts = fingerprint_parts(folder)
    assert set(parts) == {"weights", "config", "tokenizer", "chat_template"}
    assert fingerprint(folder) == combine(parts) == of_json(parts)


def test_reading_in_small_pieces_gives_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(write(tmp_path / "one"))
    monkeypatch.setattr(module, "CHUNK_BYTES", 5)
    assert fingerprint(write(tmp_path / "two")) == whole


@pytest.mark.parametrize("assignment", [("x", "x", "x"), ("x", "y", "x"), ("z", "y", "x")])
def test_how_tensors_are_spread_over_files_does_not_matter(tmp_path: Path, assignment: tuple[str, ...]) -> None:
    names = {name: f"{file}.safetensors" for name, file in zip(WEIGHTS, assignment, strict=True)}
    assert fingerprint(write_shards(tmp_path / "shards", names)) == fingerprint(write(tmp_path / "one"))


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("weights", {"weights": {**WEIGHTS, "b.weight": torch.tensor([1.0, 2.5], dtype=torch.bfloat16)}}),
        ("weights", {"weights": {**WEIGHTS, "a.weight": WEIGHTS["a.weight"].reshape(3, 2)}}),
        ("weights", {"weights": {"other": WEIGHTS["a.weight"], **{n: WEIGHTS[n] for n in ("b.weight", "c.weight")}}}),
        ("config", {"config": {**CONFIG, "rope_theta": 1.0}}),
        ("tokenizer", {"tokenizer": {**TOKENIZER, "model": {"vocab": {"b": 0}}}}),
        ("tokenizer", {"tokenizer_config": {"eos_token": "b"}}),
        ("tokenizer", {"tokenizer_config": {"eos_token": "a", "add_bos_token": True}}),
        ("chat_template", {"template": "hello"}),
    ],
)
def test_a_change_shows_in_its_own_part_only(tmp_path: Path, part: str, changed: dict[str, Any]) -> None:
    assert differing(write(tmp_path / "one"), write(tmp_path / "two", **changed)) == {part}


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {**CONFIG, "dtype": "bfloat16", "transformers_version": "9", "_name_or_path": "x"}},
        {"config": {**CONFIG, "torch_dtype": "float16", "use_cache": False, "absent": None}},
        {"config": dict(reversed(CONFIG.items()))},
        {"tokenizer": {**TOKENIZER, "padding": {"length": 3}, "truncation": {"max_length": 9}}},
        {"tokenizer_config": {"eos_token": {"content": "a", "lstrip": False}, "model_max_length": 5}},
        {"tokenizer_config": {"eos_token": "a", "pad_token": "a", "local_files_only": True}},
    ],
)
def test_who_wrote_the_files_and_how_they_were_loaded_does_not_matter(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert differing(write(tmp_path / "one"), write(tmp_path / "two", **changed)) == set()


def test_a_chat_template_is_the_same_in_either_of_its_places(tmp_path: Path) -> None:
    inside = write(tmp_path / "two", tokenizer_config={"eos_token": "a", "chat_template": "hi"})
    (inside / "chat_template.jinja").unlink()
    assert differing(write(tmp_path / "one"), inside) == set()


def test_a_tokenizer_without_its_fast_form_is_known_by_its_files(tmp_path: Path) -> None:
    folders = [write(tmp_path / name) for name in ("one", "two", "three")]
    for folder, data in zip(folders, (b"sentencepiece", b"sentencepiece", b"other"), strict=True):
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(data)
    assert differing(folders[0], folders[1]) == set()
    assert differing(folders[0], folders[2]) == {"tokenizer"}


def test_the_second_call_reads_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "m")
    first = fingerprint(folder)

    def refuse(_: object) -> str:
        raise AssertionError("the weights were read again")

    monkeypatch.setattr(module, "_weights_digest", refuse)
    assert fingerprint(folder) == first


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_file_that_was_touched_is_read_again(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "m")
    first = fingerprint(folder)
    data = bytearray((folder / name).read_bytes())
    data[-3 if name != "chat_template.jinja" else 0] ^= 1
    (folder / name).unlink()  # another inode, as after a copy that kept size and times
    (folder / name).write_bytes(data)
    if name.endswith(".json"):
        (folder / name).write_text(json.dumps({"model_type": "other", "model": {}}))
    assert fingerprint(folder) != first


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"version": 2}'])
def test_a_damaged_note_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    folder = write(tmp_path / "m")
    first = fingerprint(folder)
    (note,) = (tmp_path / "cache" / "fingerprints").iterdir()
    note.write_bytes(damage)
    assert fingerprint(folder) == first
    assert json.loads(note.read_bytes())["parts"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_pickled_weights_are_refused_with_a_cure(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(Rejected) as caught:
        fingerprint(folder)
    assert caught.value.code == "unsafe-weights"
    assert name in caught.value.got
    assert "save_pretrained" in caught.value.fix


def test_pickled_weights_beside_safe_ones_do_not_matter(tmp_path: Path) -> None:
    folder = write(tmp_path / "m")
    first = fingerprint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert fingerprint(folder) == first


def header(entries: object) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header(b"no json") + b"12345678",
        header([1]) + b"12345678",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}) + b"1234567",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}) + b"123456789",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-4, 4]}}) + b"1234",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}) + b"12345678",
        header({"a": {"dtype": "F32", "shape": [2]}}) + b"12345678",
        header({"a": 1}) + b"12345678",
    ],
)
def test_weights_that_are_cut_short_or_contradict_their_header_are_refused(tmp_path: Path, data: bytes) -> None:
    folder = write(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(Rejected, match="unsafe-weights"):
        fingerprint(folder)


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": {}}, {"weight_map": {"a": "absent.safetensors"}}, {"weight_map": {"a": "../x"}}]
)
def test_an_index_that_names_no_files_or_absent_ones_is_refused(tmp_path: Path, index: dict[str, Any]) -> None:
    folder = write(tmp_path / "m")
    (folder / "model.safetensors").rename(tmp_path / "x")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Rejected, match="unsafe-weights"):
        fingerprint(folder)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "m", {"a.weight": "x.safetensors", "b.weight": "y.safetensors"})
    save_file({"a.weight": WEIGHTS["a.weight"], "b.weight": WEIGHTS["b.weight"]}, folder / "y.safetensors")
    with pytest.raises(Rejected, match="in two files"):
        fingerprint(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_folder_without_its_config_or_its_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(Rejected) as caught:
        fingerprint(folder)
    assert name in caught.value.expected + caught.value.got
