"""A patch folder and stock PEFT understand each other."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from compose.artifact import Patch, load, save
from compose.errors import Rejected


@pytest.fixture
def model() -> LlamaForCausalLM:
    """A random two-layer Llama of width 16."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


def test_stock_peft_loads_a_saved_patch(
    model: LlamaForCausalLM,
    make_patch: Callable[..., Patch],
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
) -> None:
    patch = make_patch(torch.randn(5, 16))
    loaded = PeftModel.from_pretrained(model, str(save(patch, tmp_path / "tox")))
    assert torch.equal(loaded.prompt_encoder["default"].embedding.weight, patch.prefix)
    config = loaded.peft_config["default"]
    assert (config.num_virtual_tokens, config.token_dim, config.num_layers, config.num_attention_heads) == (
        5,
        16,
        2,
        2,
    )
    assert not [warning for warning in recwarn if "nexpected" in str(warning.message)]


def test_stock_peft_loads_a_patch_whose_base_left_no_shape(
    model: LlamaForCausalLM, make_patch: Callable[..., Patch], tmp_path: Path
) -> None:
    patch = make_patch(torch.randn(5, 16))
    bare = patch.card.model_copy(update={"base": patch.card.base.model_copy(update={"layers": None, "heads": None})})
    loaded = PeftModel.from_pretrained(model, str(save(Patch(patch.prefix, bare), tmp_path / "tox")))
    assert torch.equal(loaded.prompt_encoder["default"].embedding.weight, patch.prefix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_checkpoint_that_peft_saved_loads_as_unproven(
    model: LlamaForCausalLM, tmp_path: Path, dtype: torch.dtype
) -> None:
    wrapped = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)).to(dtype)
    wrapped.save_pretrained(tmp_path / "theirs")
    patch = load(tmp_path / "theirs")
    assert patch.card.status == "unproven"
    assert torch.equal(patch.prefix, wrapped.prompt_encoder["default"].embedding.weight.float())


def test_a_lora_checkpoint_is_refused_with_the_reason(model: LlamaForCausalLM, tmp_path: Path) -> None:
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=1, target_modules=["q_proj"]))
    wrapped.save_pretrained(tmp_path / "theirs")
    with pytest.raises(Rejected, match="peft_type 'LORA'"):
        load(tmp_path / "theirs")
