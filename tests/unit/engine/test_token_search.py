"""Gradients and likelihoods of a token search are those of the plain model with the prefix's embeddings in front."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from compose.engine import ScoreRow, completion_logprobs, prefix_cache
from compose.engine.token_search import token_gradient, variant_logprobs
from compose.errors import Rejected

SHARED = ["llama", "qwen2", "gpt2", "mistral", "gemma2", "gemma3"]
MakeModel = Callable[[str], PreTrainedModel]


def by_one_hot(model: PreTrainedModel, prefix: Tensor, row: ScoreRow) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient in one-hot tokens, by autograd over one-hot times the embedding's table."""
    embedding = model.get_input_embeddings()
    table = embedding(torch.arange(embedding.weight.shape[0]))
    ids = torch.tensor(row.prompt + row.completion)
    one_hot = F.one_hot(ids, len(table)).float().requires_grad_()
    logits = model(inputs_embeds=torch.cat([prefix, one_hot @ table])[None]).logits[0, len(prefix) :]
    loss = F.cross_entropy(logits[len(row.prompt) - 1 : -1], ids[len(row.prompt) :])
    (gradient,) = torch.autograd.grad(loss, one_hot)
    return loss, gradient


@pytest.mark.parametrize("architecture", [*SHARED, "bloom"])
@pytest.mark.filterwarnings("ignore:BloomForCausalLM")
def test_the_gradient_in_the_tokens_is_that_of_plain_autograd_through_the_prefix(
    architecture: str, make_model: MakeModel, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    row = ScoreRow(texts[0], texts[2])
    loss, gradient = token_gradient(model, prefix_cache(model, [prefix]), row, range(5, 12))
    plain_loss, plain_gradient = by_one_hot(model, prefix, row)

    assert loss == pytest.approx(plain_loss.item(), rel=1e-5)
    expected = plain_gradient[5:12]
    assert float((gradient - expected).abs().max() / expected.abs().max()) < 1e-4


def test_without_a_patch_the_gradient_is_another(
    make_model: MakeModel, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model("llama")
    cache = prefix_cache(model, [prefix, None])
    slots = range(2, 6)
    patched = token_gradient(model, cache, ScoreRow(texts[0], texts[2], 0), slots)
    unpatched = token_gradient(model, cache, ScoreRow(texts[0], texts[2], 1), slots)

    assert patched[0] != unpatched[0]
    assert not torch.allclose(patched[1], unpatched[1])
    assert unpatched[1] == pytest.approx(by_one_hot(model, prefix[:0], ScoreRow(texts[0], texts[2]))[1][2:6], rel=1e-3)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "bloom"])
@pytest.mark.filterwarnings("ignore:BloomForCausalLM")
def test_variants_score_as_each_would_alone(
    architecture: str, make_model: MakeModel, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    cache = prefix_cache(model, [prefix, None])
    head, completion = texts[1], texts[2]
    source = torch.Generator().manual_seed(3)
    variants = [tuple(torch.randint(3, 97, (4 + n % 3,), generator=source).tolist()) for n in range(70)]
    found = variant_logprobs(model, cache, head, variants, completion)
    alone = completion_logprobs(model, cache, [ScoreRow(head + variant, completion) for variant in variants])

    assert found.shape == (70,)
    assert found == pytest.approx(torch.stack([one.sum() for one in alone]), abs=1e-4)


def test_a_head_without_a_token_is_refused(make_model: MakeModel) -> None:
    model = make_model("llama")
    with pytest.raises(Rejected) as caught:
        variant_logprobs(model, prefix_cache(model, [None]), (), [(5,)], (6,))
    assert caught.value.code == "prompt-empty"
