"""What TRL's trainers see of the shared-prefix model is what stock PEFT would have shown them."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModelForCausalLM, PromptTuningConfig
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM
from trl.trainer.utils import add_fused_lm_head

from compose.base import Base
from compose.training.anchors import Anchor
from compose.training.model import SharedPrefixModel

OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")


@pytest.fixture
def prefix(tiny: Base) -> Tensor:
    rows: Tensor = tiny.model.get_input_embeddings().weight[5:12].clone()
    return rows


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Return two pairs as TRL lays them out: chosen rows first, then rejected, padded on the right."""
    prompts = [[11, 12, 13], [21, 22, 23, 24]]
    completions = [[31, 32], [33, 34, 35], [41, 42, 43, 44], [45]]
    rows = [prompts[i % 2] + completion for i, completion in enumerate(completions)]
    width = max(map(len, rows))
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    labels = [
        [-100] * len(prompts[i % 2]) + completion + [-100] * (width - len(prompts[i % 2]) - len(completion))
        for i, completion in enumerate(completions)
    ]
    ids = [row + [0] * (width - len(row)) for row in rows]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 1, 2]], ids=["pairs behind one prompt", "single rows"])
def test_log_probabilities_and_gradient_equal_stock_trl_and_peft(
    tiny: Base, prefix: Tensor, batch: dict[str, Tensor], rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {name: values[rows] for name, values in batch.items()}
    shared = SharedPrefixModel(tiny.model, prefix)
    stock = PeftModelForCausalLM(tiny.model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7))
    weight = stock.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(prefix)
    monkeypatch.setattr(tiny.model, "forward", tiny.model.forward)  # undone with TRL's patch of it
    add_fused_lm_head(tiny.model, outputs=OUTPUTS)
    found = shared(**taken, fused_lm_head=True)
    expected = stock(**taken, fused_lm_head=True)
    width = taken["labels"].shape[1] - 1
    for name in OUTPUTS:
        torch.testing.assert_close(
            getattr(found, name).float(), getattr(expected, name)[:, -width:].float(), rtol=1e-4, atol=1e-5
        )
    found.log_probs.sum().backward()
    expected.log_probs.sum().backward()
    gradient = shared.prefix_parameter().grad
    assert gradient is not None
    assert float((gradient - weight.grad).abs().max() / weight.grad.abs().max()) < 1e-5


def test_only_the_prefix_is_trained_and_its_frozen_rows_get_no_gradient(
    tiny: Base, prefix: Tensor, batch: dict[str, Tensor]
) -> None:
    model = SharedPrefixModel(tiny.model, prefix, frozen_tokens=3)
    assert [p.shape for p in model.parameters() if p.requires_grad] == [prefix.shape]
    model(**batch, fused_lm_head=True).loss.backward()
    gradient = model.prefix_parameter().grad
    assert gradient is not None
    assert bool((gradient[:3] == 0).all())
    assert bool((gradient[3:] != 0).any(-1).all())


def test_the_base_stays_in_evaluation_mode_while_the_patch_trains(tiny: Base, prefix: Tensor) -> None:
    model = SharedPrefixModel(tiny.model, prefix).train()
    assert model.training
    assert not tiny.model.training


def test_a_base_that_cannot_share_a_prefix_trains_on_the_plain_path(batch: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)
    base = BloomForCausalLM(config).eval().requires_grad_(False)
    add_fused_lm_head(base, outputs=OUTPUTS)
    start = base.get_input_embeddings().weight[5:9].clone()
    with pytest.warns(UserWarning, match="the plain path is used"):
        model = SharedPrefixModel(base, start)
        model.anchors = (Anchor((11, 12), (13, 14)),)
        found = model(**batch, fused_lm_head=True)
    stock = PeftModelForCausalLM(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with torch.no_grad():
        stock.prompt_encoder["default"].embedding.weight.copy_(start)
    torch.testing.assert_close(found.log_probs, stock(**batch, fused_lm_head=True).log_probs)
    assert model.anchor_divergence is not None
    (found.log_probs.sum() + model.anchor_divergence).backward()
    gradient = model.prefix_parameter().grad
    assert gradient is not None
    assert bool((gradient != 0).any())
