"""GGUF files become model folders: the same weights, the right tokenizer, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from compose.assets.gguf import dequantise
from compose.assets.gguf_header import read_metadata
from compose.assets.random_base import build_tokenizer
from compose.errors import Rejected

HIDDEN, HEADS, INNER = 64, 2, 128
Q8_0 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a one-layer Llama in Q8_0, made with the writer of the format's own package."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    table = json.loads(build_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(table["vocab"], key=table["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 4 + [1] * (len(tokens) - 4))
    writer.add_token_merges([" ".join(pair) for pair in table["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(3)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, shape in shapes(len(tokens)).items():
        values = numbers(name, shape)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, Q8_0), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    square, wide = (HIDDEN, HIDDEN), (INNER, HIDDEN)
    return {
        "token_embd.weight": (vocabulary, HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": square,
        "blk.0.attn_v.weight": square,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_gate.weight": wide,
        "blk.0.ffn_up.weight": wide,
        "blk.0.ffn_down.weight": (HIDDEN, INNER),
    }


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return multiples of 1/8 with 127/8 in every block of 32: Q8_0's step is then 1/8, and nothing is rounded."""
    values = np.random.default_rng(len(name)).integers(-126, 127, size=shape).astype(np.float32) / 8
    values.reshape(-1, 32)[:, 0] = 127 / 8
    return values


@pytest.fixture(scope="module")
def folder(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dequantise(gguf_file, tmp_path_factory.mktemp("out") / "model")


def test_weights_are_the_files_numbers_in_float32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    expected = numbers("token_embd.weight", tuple(embedding.shape))
    assert torch.equal(embedding, torch.from_numpy(expected))
    value = weights["model.layers.0.self_attn.v_proj.weight"]
    assert torch.equal(value, torch.from_numpy(numbers("blk.0.attn_v.weight", (HIDDEN, HIDDEN))))


def test_tied_embeddings_stay_tied(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_the_folder_says_nothing_of_a_quantisation(folder: Path) -> None:
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


def test_special_tokens_and_the_chat_template_survive(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("<|im_start|>he<|im_end|>").input_ids == [1, *tokenizer("he").input_ids, 2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "he"}], tokenize=False)
    assert chat == "he"


def test_no_token_is_added_in_front_and_text_round_trips(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = " she said\n\n 12 naïve"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer(" she").input_ids) == ["Ġshe"]


def test_smollms_digits_are_cut_from_the_spaces_before_them(folder: Path) -> None:
    # Its training split digits off first, so the two spaces stay one piece; GPT-2's rule would give the second
    # space to the digits: ["a", " ", " 12"].
    table = json.loads((folder / "tokenizer.json").read_text())
    assert [part["type"] for part in table["pre_tokenizer"]["pretokenizers"]] == ["Digits", "ByteLevel"]
    cutter = AutoTokenizer.from_pretrained(folder).backend_tokenizer.pre_tokenizer
    assert [piece for piece, _ in cutter.pre_tokenize_str("a  12")] == ["a", "ĠĠ", "1", "2"]


def test_a_file_that_is_no_gguf_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GIF89a")
    with pytest.raises(Rejected, match="asset-digest"):
        dequantise(tmp_path / "x.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(SafetensorError("I/O error: No space left on device (os error 28)"), "disk-full"), (KeyboardInterrupt(), None)],
)
def test_a_conversion_that_cannot_finish_leaves_nothing(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: str | None
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", fail)
    with pytest.raises((Rejected, KeyboardInterrupt)) as caught:
        dequantise(gguf_file, tmp_path / "out")
    assert getattr(caught.value, "code", None) == code
    assert list(tmp_path.iterdir()) == []


def test_the_head_of_a_file_gives_its_single_values(gguf_file: Path) -> None:
    metadata = read_metadata(gguf_file)
    assert metadata["general.architecture"] == "llama"
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    assert metadata["llama.embedding_length"] == HIDDEN
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["tokenizer.chat_template"] == "{{ messages[0]['content'] }}"
    assert "tokenizer.ggml.tokens" not in metadata


@pytest.mark.parametrize("keep", [3, 5, 12, 30, 200])
def test_a_head_that_is_cut_short_is_refused(gguf_file: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.gguf").write_bytes(gguf_file.read_bytes()[:keep])
    with pytest.raises(Rejected, match="asset-digest"):
        read_metadata(tmp_path / "cut.gguf")


def test_a_version_of_the_format_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.gguf").write_bytes(b"GGUF" + (99).to_bytes(4, "little") + bytes(16))
    with pytest.raises(Rejected, match="version 99"):
        read_metadata(tmp_path / "new.gguf")
