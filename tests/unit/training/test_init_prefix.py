"""Starting points of a prefix: where their rows come from, exactly."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from compose.artifact import Patch, prefix_digest
from compose.base import Base
from compose.errors import Rejected
from compose.training.init import make_prefix

TEXT = "You are kind"


def table(base: Base) -> torch.Tensor:
    matrix: torch.Tensor = base.model.get_input_embeddings().weight.detach()
    return matrix


def test_a_short_text_is_repeated_and_cut(tiny: Base) -> None:
    ids = tiny.tokenizer(TEXT)["input_ids"]
    count = len(ids)
    prefix, info = make_prefix("text", 2 * count + 1, tiny, text=f"  {TEXT} ")
    assert torch.equal(prefix, table(tiny)[[*ids, *ids, ids[0]]])
    assert (info.kind, info.text, info.digest) == ("text", TEXT, prefix_digest(prefix))


def test_a_long_text_is_cut(tiny: Base) -> None:
    ids = tiny.tokenizer(TEXT)["input_ids"]
    prefix, _ = make_prefix("text", 2, tiny, text=TEXT)
    assert torch.equal(prefix, table(tiny)[ids[:2]])


@pytest.mark.parametrize("tokens", [2, 13])
def test_the_text_init_is_that_of_peft(tiny: Base, tokens: int) -> None:
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=tokens,
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text=TEXT,
        tokenizer_name_or_path=str(tiny.folder),
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny.folder), config)
    theirs = model.prompt_encoder["default"].embedding.weight.detach()
    assert torch.equal(make_prefix("text", tokens, tiny, text=TEXT).prefix, theirs)


def test_sampled_rows_are_different_ordinary_tokens_fixed_by_the_seed(tiny: Base) -> None:
    prefix, info = make_prefix("vocab", 30, tiny, seed=5)
    matches = (prefix[:, None] == table(tiny)[None]).all(-1)  # [30, vocabulary]
    ids = matches.float().argmax(-1).tolist()
    assert matches.any(-1).all() and len(set(ids)) == 30
    assert not set(ids) & set(tiny.tokenizer.all_special_ids)
    assert info.kind == "vocab" and info.text is None
    assert torch.equal(prefix, make_prefix("vocab", 30, tiny, seed=5).prefix)
    assert not torch.equal(prefix, make_prefix("vocab", 30, tiny, seed=6).prefix)


def test_special_tokens_are_never_sampled(tiny: Base) -> None:
    everything = len(tiny.tokenizer) - 4
    prefix, _ = make_prefix("vocab", everything, tiny, seed=0)
    special = table(tiny)[sorted(tiny.tokenizer.all_special_ids)]
    assert len(tiny.tokenizer.all_special_ids) <= 4
    assert not (prefix[:, None] == special[None]).all(-1).any()


def test_more_rows_than_the_vocabulary_has_tokens_repeat(tiny: Base) -> None:
    assert make_prefix("vocab", len(tiny.tokenizer) + 10, tiny, seed=0).prefix.shape == (474, 64)


def test_random_rows_have_the_mean_and_spread_of_the_vocabulary(tiny: Base) -> None:
    ordinary = table(tiny)[4:]  # the four special tokens come first
    with torch.no_grad():
        prefix, info = make_prefix("random", 20_000, tiny, seed=1)
    spread = ordinary.std(0, correction=0)
    # The mean of 20,000 draws is off by sd / 141, their spread by sd / 200: five of these are .036 and .025.
    assert ((prefix.mean(0) - ordinary.mean(0)).abs() < 0.036 * spread).all()
    assert ((prefix.std(0) / spread - 1).abs() < 0.025).all()
    assert info.kind == "random"
    assert torch.equal(make_prefix("random", 3, tiny, seed=1).prefix, make_prefix("random", 3, tiny, seed=1).prefix)


def test_a_patch_is_copied(tiny: Base) -> None:
    source = torch.randn(3, 64)
    prefix, info = make_prefix("patch", 3, tiny, patch=source)
    source.zero_()
    assert prefix.abs().sum() > 0
    assert info.digest == prefix_digest(prefix) and info.kind == "patch"


def test_a_patch_of_another_base_is_refused(tiny: Base, make_patch: Callable[..., Patch]) -> None:
    with pytest.raises(Rejected, match="base-mismatch"):
        make_prefix("patch", 1, tiny, patch=make_patch([[0.5] * 64]))


def test_a_scaled_embedding_is_taken_as_the_layers_see_it(tiny: Base) -> None:
    config = Gemma3TextConfig(
        vocab_size=464,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    gemma = replace(tiny, model=Gemma3ForCausalLM(config).eval())
    ids = tiny.tokenizer(TEXT)["input_ids"]
    # Gemma multiplies embeddings by sqrt(hidden_size) = 4.
    assert torch.allclose(make_prefix("text", len(ids), gemma, text=TEXT).prefix, 4 * table(gemma)[ids])


def test_prefixes_are_float32_on_the_cpu_and_ask_for_no_gradient(tiny: Base) -> None:
    half = replace(tiny, model=AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.bfloat16))
    for kind in ("text", "vocab", "random"):
        prefix, _ = make_prefix(kind, 4, half, text=TEXT)
        assert prefix.dtype == torch.float32 and prefix.is_contiguous() and not prefix.requires_grad


@pytest.mark.parametrize(
    ("kind", "tokens", "given"),
    [
        ("text", 0, {"text": TEXT}),
        ("text", 3, {}),
        ("text", 3, {"text": "  "}),
        ("patch", 3, {}),
        ("patch", 3, {"patch": torch.ones(2, 64)}),
        ("patch", 3, {"patch": torch.ones(3, 63)}),
        ("patch", 3, {"patch": torch.ones(3)}),
        ("zeros", 3, {}),
    ],
)
def test_a_start_that_cannot_be_made_is_refused(tiny: Base, kind: str, tokens: int, given: dict[str, object]) -> None:
    with pytest.raises(Rejected, match="init-invalid"):
        make_prefix(kind, tokens, tiny, **given)  # type: ignore[arg-type]
