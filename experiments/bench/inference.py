"""Generation with and without a patch, and the evaluation of several compositions together or one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from peft import PromptTuningConfig, TaskType, get_peft_model
from torch import Tensor

from compose.base import Base
from compose.engine import Row, Sampling, generate, prefix_cache
from experiments.bench.clock import Turn, repeated
from experiments.bench.inputs import random_prefix, random_prompts
from experiments.bench.settings import BenchSettings

GENERATE_VARIANTS = (
    "base, ours",
    "patched, ours",
    "base, transformers",
    "patched, PEFT",
    "prefix cache alone",
)
COMPOSITION_VARIANTS = ("together", "one by one")


def generation_turn(base: Base, settings: BenchSettings, variant: str, tokens: int) -> Turn:
    """Return a turn of greedy generation for one batch of prompts, no row ending early."""
    makers: dict[str, Callable[[], Callable[[], object]]] = {
        "patched, ours": lambda: _ours(base, settings, tokens),
        "base, ours": lambda: _ours(base, settings, 0),
        "base, transformers": lambda: stock_call(base, settings, base.model),
        "patched, PEFT": lambda: stock_call(
            base, settings, behind_peft(base, random_prefix(base, tokens, settings.seed))
        ),
        "prefix cache alone": lambda: _cache_alone(base, settings, tokens),
    }
    return repeated(makers[variant](), settings.steps, base.model.device)


def composition_turn(base: Base, settings: BenchSettings, variant: str, tokens: int) -> Turn:
    """Return a turn of sampling for every composition: their prefix caches are made anew each time.

    Half of the compositions are twice as long as the others, as concatenations are.
    """
    prompts = random_prompts(base, settings)
    lengths = [tokens * (1 + n % 2) for n in range(settings.compositions)]
    prefixes = [random_prefix(base, length, settings.seed + n) for n, length in enumerate(lengths)]
    sampling = Sampling(max_new_tokens=settings.completion)

    @torch.no_grad()
    def run(groups: list[list[torch.Tensor]]) -> None:
        for group in groups:
            rows = [Row(prompt, patch, seed) for patch in range(len(group)) for seed, prompt in enumerate(prompts)]
            generate(base.model, prefix_cache(base.model, group), rows, sampling, eos_ids=(), batch_size=len(rows))

    groups = [prefixes] if variant == "together" else [[prefix] for prefix in prefixes]
    return repeated(lambda: run(groups), settings.steps, base.model.device)


def _ours(base: Base, settings: BenchSettings, tokens: int) -> Callable[[], object]:
    """Return a call of our generation; the prefix cache is made once, as it is for a patch that is in use."""
    with torch.no_grad():
        cache = prefix_cache(base.model, [random_prefix(base, tokens, settings.seed) if tokens else None])
    rows = [Row(prompt, 0, seed) for seed, prompt in enumerate(random_prompts(base, settings))]
    sampling = Sampling(max_new_tokens=settings.new_tokens, temperature=0.0)
    return lambda: generate(base.model, cache, rows, sampling, eos_ids=())


def stock_call(base: Base, settings: BenchSettings, model: Any) -> Callable[[], object]:
    """Return a call of transformers' or PEFT's own generation, with `model` in place of the base's."""
    ids = torch.tensor(random_prompts(base, settings), device=base.model.device)
    options = copy.deepcopy(base.model.generation_config)
    options.update(
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        min_new_tokens=settings.new_tokens,
        max_new_tokens=settings.new_tokens,
        pad_token_id=base.tokenizer.pad_token_id,
    )

    @torch.no_grad()
    def run() -> object:
        return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=options)

    return run


def behind_peft(base: Base, prefix: Float[Tensor, "tokens dim"]) -> Any:
    """Return the base behind a prefix in PEFT's own model."""
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=len(prefix))
    model = get_peft_model(base.model, config)
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(prefix)
    return model.eval()


def _cache_alone(base: Base, settings: BenchSettings, tokens: int) -> Callable[[], object]:
    """Return a call that computes a prefix's keys and values: what loading a patch adds, once."""
    prefix = random_prefix(base, tokens, settings.seed)

    @torch.no_grad()
    def run() -> object:
        return prefix_cache(base.model, [prefix])

    return run
