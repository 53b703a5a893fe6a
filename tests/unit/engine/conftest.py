"""Random two-layer models of the architectures that the engine promises to be exact on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

SHARED = ["llama", "qwen2", "gpt2", "mistral", "gemma2", "gemma3"]
DIM = 32
VOCABULARY = 97
WINDOW = 7  # shorter than the prefixes and texts of the tests, so that sliding windows cut into both


def _build(architecture: str) -> PreTrainedModel:
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": DIM,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    kinds = ["sliding_attention", "full_attention"]
    small = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
    builders: dict[str, Callable[[], PreTrainedModel]] = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**common)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**common)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**common, sliding_window=WINDOW)),
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**common, head_dim=8, sliding_window=WINDOW)),
        "gemma3": lambda: Gemma3ForCausalLM(
            Gemma3TextConfig(**common, head_dim=8, sliding_window=WINDOW, layer_types=kinds)
        ),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**small, n_embd=DIM, n_layer=2, n_head=4, n_positions=256)),
        # Attention with linear biases: its forward takes no positions, so a prefix cannot be shared.
        "bloom": lambda: BloomForCausalLM(BloomConfig(**small, hidden_size=DIM, n_layer=2, n_head=4)),
    }
    return builders[architecture]()


@pytest.fixture(scope="session")
def make_model() -> Callable[[str], PreTrainedModel]:
    """Return a maker of frozen random models, the same at every call; weights are spread so that logits differ."""
    made: dict[str, PreTrainedModel] = {}

    def make(architecture: str) -> PreTrainedModel:
        if architecture not in made:
            torch.manual_seed(0)
            model = _build(architecture).eval().requires_grad_(False)
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
            made[architecture] = model
        return made[architecture]

    return make


@pytest.fixture
def prefix() -> torch.Tensor:
    return torch.randn(11, DIM, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def texts() -> list[tuple[int, ...]]:
    """Return four rows of unequal length."""
    source = torch.Generator().manual_seed(2)
    return [tuple(torch.randint(3, VOCABULARY, (n,), generator=source).tolist()) for n in (20, 9, 4, 13)]
