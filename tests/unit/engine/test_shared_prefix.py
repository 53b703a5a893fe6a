"""The shared path gives stock PEFT's logits and gradients, whatever shares the batch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from peft import PeftModelForCausalLM, PromptTuningConfig
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine import ScoreRow, completion_logprobs, next_token_logprobs, prefix_cache, sharing
from compose.engine.layout import Tree
from compose.engine.plain import plain_logits
from compose.engine.prefix import PrefixCache, fill
from compose.engine.rows import Row
from compose.engine.score import shared_logits, tree_logits
from compose.errors import Rejected

Make = Callable[[str], PreTrainedModel]
SHARED = ["llama", "qwen2", "gpt2", "mistral", "gemma2", "gemma3"]


def stock_peft(model: PreTrainedModel, prefix: Tensor) -> PeftModelForCausalLM:
    """Return PEFT's own prompt-tuning model with this prefix."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prefix.shape[0])
    stock = PeftModelForCausalLM(model, config)
    with torch.no_grad():
        stock.prompt_encoder["default"].embedding.weight.copy_(prefix)
    return stock


def stock_logits(stock: PeftModelForCausalLM, ids: tuple[int, ...]) -> Tensor:
    tokens = torch.tensor([ids])
    logits: Tensor = stock(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    return logits[0, -len(ids) :]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("architecture", SHARED)
def test_logits_equal_stock_peft(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    cache = prefix_cache(model, [prefix])
    assert cache.plain_reason is None
    stock = stock_peft(model, prefix)
    for ids, logits in zip(texts, shared_logits(model, cache, texts, [0] * len(texts)), strict=True):
        assert relative(logits, stock_logits(stock, ids)) < 1e-5


@pytest.mark.parametrize("architecture", SHARED)
def test_prefix_gradient_equals_stock_peft(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    stock = stock_peft(model, prefix)
    stock_loss = torch.zeros(())
    for ids in texts:
        logprobs = stock_logits(stock, ids)[:-1].log_softmax(-1)
        stock_loss = stock_loss - logprobs.gather(-1, torch.tensor(ids[1:])[:, None]).sum()
    stock_loss.backward()
    expected = stock.prompt_encoder["default"].embedding.weight.grad
    trained = prefix.clone().requires_grad_()
    logits, layout = tree_logits(model, prefix_cache(model, [trained]), [Tree(t[:1], (t[1:],)) for t in texts])
    torch.nn.functional.cross_entropy(logits, layout.targets, reduction="sum").backward()
    assert trained.grad is not None
    assert relative(trained.grad, expected) < 1e-5


@pytest.mark.parametrize("architecture", SHARED)
def test_branches_behind_one_prompt_do_not_see_each_other(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    prompt, chosen, rejected = texts[0], texts[1], texts[2]
    logits, layout = tree_logits(model, prefix_cache(model, [prefix]), [Tree(prompt, (chosen, rejected))])
    assert layout.lengths == (len(chosen), len(rejected))
    alone = [plain_logits(model, prefix, prompt + branch)[len(prompt) - 1 : -1] for branch in (chosen, rejected)]
    assert relative(logits, torch.cat(alone)) < 1e-5


@pytest.mark.parametrize("architecture", SHARED)
def test_trees_that_share_a_row_do_not_see_each_other(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    prefixes = [prefix, prefix[:4]]
    trees = [Tree(t[:2], (t[2:], t[1:3]), patch) for patch in (1, 0) for t in texts]
    logits, layout = tree_logits(model, prefix_cache(model, prefixes), trees)
    assert layout.input_ids.shape[0] < len(trees)
    alone = [
        plain_logits(model, prefixes[tree.patch], tree.prompt + branch)[len(tree.prompt) - 1 : -1]
        for tree in trees
        for branch in tree.branches
    ]
    assert relative(logits, torch.cat(alone)) < 1e-5


@pytest.mark.parametrize("architecture", SHARED)
def test_rows_behind_different_patches_share_a_batch(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    prefixes = [prefix, None, prefix[:4]]
    cache = prefix_cache(model, prefixes)
    rows = [ScoreRow(t[:3], t[3:], patch) for t in texts for patch in (2, 0, 1)]
    for row, found in zip(rows, completion_logprobs(model, cache, rows, batch_size=5), strict=True):
        logits = plain_logits(model, prefixes[row.patch], row.prompt + row.completion)
        expected = logits[2:-1].log_softmax(-1).gather(-1, torch.tensor(row.completion)[:, None]).squeeze(-1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_next_token_distribution_is_the_one_behind_the_last_prompt_token(
    make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model("gemma3")
    rows = [Row(t, patch) for patch in (1, 0) for t in texts]
    found = next_token_logprobs(model, prefix_cache(model, [prefix, None]), rows, batch_size=3)
    for row, logprobs in zip(rows, found, strict=True):
        expected = plain_logits(model, [prefix, None][row.patch], row.prompt)[-1].log_softmax(-1)
        torch.testing.assert_close(logprobs, expected, rtol=1e-4, atol=1e-5)


def test_an_architecture_that_cannot_share_takes_the_plain_path_and_says_so(
    make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model("bloom")
    cache = prefix_cache(model, [prefix])
    assert cache.plain_reason is not None and "position_ids" in cache.plain_reason
    found = completion_logprobs(model, cache, [ScoreRow(texts[0][:5], texts[0][5:])])[0]
    expected = plain_logits(model, prefix, texts[0])[4:-1].log_softmax(-1)
    torch.testing.assert_close(found, expected.gather(-1, torch.tensor(texts[0][5:])[:, None]).squeeze(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", SHARED)
def test_a_prefix_is_shared_in_any_precision_and_a_wrong_way_of_sharing_is_noticed(
    architecture: str, dtype: torch.dtype, make_model: Make, prefix: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [deepcopy(make_model(architecture)).to(dtype) for _ in range(2)]  # what is found is kept by model
    assert prefix_cache(models[0], [prefix]).plain_reason is None

    def of_another_row(model: PreTrainedModel, prefixes: tuple[Tensor, ...], lengths: Tensor) -> PrefixCache:
        return fill(model, prefixes[::-1], lengths.flip(0))

    monkeypatch.setattr(sharing, "fill", of_another_row)
    with pytest.warns(UserWarning, match="plain path"):
        wrong = prefix_cache(models[1], [prefix])
    assert wrong.plain_reason == "shared and plain logits differ"


def test_the_models_own_attention_is_back_after_the_engine_has_run(make_model: Make, prefix: Tensor) -> None:
    model = make_model("llama")
    before = model.config._attn_implementation
    with pytest.raises(IndexError):
        shared_logits(model, prefix_cache(model, [prefix]), [(10**6,)], [0])
    assert model.config._attn_implementation == before


def test_an_empty_prompt_is_refused(make_model: Make, prefix: Tensor) -> None:
    model = make_model("llama")
    with pytest.raises(Rejected, match="prompt-empty"):
        completion_logprobs(model, prefix_cache(model, [prefix]), [ScoreRow((), (5, 6))])
