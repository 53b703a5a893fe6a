"""Random bases: the built-in tokenizer and weights that depend on the seed alone."""

from __future__ import annotations

import pytest
import torch

from compose.assets.random_base import build_config, build_model, build_tokenizer
from compose.base_spec import RandomShape

SHAPE = RandomShape(hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32)
CPU = torch.device("cpu")


@pytest.mark.parametrize("text", ["He said she is a doctor.", "", " é日🙂\n\t\x00 two  spaces", "shee he", "IFYOU"])
def test_every_text_round_trips(text: str) -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_common_words_behind_a_space_are_one_token() -> None:
    tokenizer = build_tokenizer()
    for word in (" she", " he", " her", " woman", " men"):
        assert tokenizer.convert_ids_to_tokens(tokenizer(word).input_ids) == [word.replace(" ", "Ġ")]


def test_special_tokens_are_whole_and_padding_is_none_of_the_others() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer("<|endoftext|><|im_start|><|im_end|><|pad|>").input_ids == [0, 1, 2, 3]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)


def test_the_chat_template_is_chatml() -> None:
    chat = build_tokenizer().apply_chat_template(
        [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    expected = "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert chat == expected


def test_the_shape_decides_the_config() -> None:
    tokenizer = build_tokenizer()
    config = build_config(SHAPE, tokenizer)
    assert config.vocab_size == len(tokenizer)
    assert (config.hidden_size, config.num_hidden_layers, config.num_key_value_heads) == (16, 1, 1)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    config = build_config(SHAPE, build_tokenizer())
    before = torch.get_rng_state()
    one = build_model(config, 1, CPU, torch.float32).state_dict()
    same = build_model(config, 1, CPU, torch.float32).state_dict()
    other = build_model(config, 2, CPU, torch.float32).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_weights_are_drawn_in_their_own_type_and_the_default_type_stays() -> None:
    model = build_model(build_config(SHAPE, build_tokenizer()), 0, CPU, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32


def test_weights_have_the_spread_that_was_asked_for() -> None:
    # 64 x 400 numbers: the standard error of their deviation is 0.5 / sqrt(2 * 25,600) = 0.0022.
    shape = RandomShape(hidden=64, layers=1, heads=2, kv_heads=1, intermediate=32, vocabulary=400, spread=0.5)
    model = build_model(build_config(shape, build_tokenizer()), 0, CPU, torch.float32)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(0.5, abs=0.01)
