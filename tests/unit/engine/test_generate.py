"""Generation gives what the plain path gives, for every row whatever its neighbours are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine import Row, Sampling, generate, prefix_cache
from compose.engine.plain import plain_logits
from compose.engine.sample import next_tokens, row_noise

Make = Callable[[str], PreTrainedModel]
ALL = ["llama", "qwen2", "gpt2", "mistral", "gemma2", "gemma3", "bloom"]
GREEDY = Sampling(max_new_tokens=12, temperature=0)


@pytest.mark.parametrize("architecture", ALL)
def test_greedy_tokens_are_the_plain_paths_likeliest(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    prefixes = [prefix, prefix[:4], None]
    rows = [Row(t, patch) for t in texts for patch in range(3)]
    with torch.no_grad():
        cache = prefix_cache(model, prefixes)
        for row, completion in zip(rows, generate(model, cache, rows, GREEDY, eos_ids=[]), strict=True):
            assert len(completion) == 12
            logits = plain_logits(model, prefixes[row.patch], (*row.prompt, *completion))[len(row.prompt) - 1 : -1]
            drawn = logits.gather(-1, torch.tensor(completion)[:, None]).squeeze(-1)
            assert float((logits.max(-1).values - drawn).max()) < 1e-3  # ties may fall either way


@pytest.mark.parametrize("architecture", ALL)
def test_a_sampled_row_does_not_depend_on_its_batch(
    architecture: str, make_model: Make, prefix: Tensor, texts: list[tuple[int, ...]]
) -> None:
    model = make_model(architecture)
    sampling = Sampling(max_new_tokens=8)
    rows = [Row(t, patch, seed) for seed, t in enumerate(texts) for patch in (0, 1)]
    with torch.no_grad():
        cache = prefix_cache(model, [prefix, None])
    together = generate(model, cache, rows, sampling, eos_ids=[2])
    alone = [generate(model, cache, [row], sampling, eos_ids=[2])[0] for row in rows]
    assert together == alone


def test_samples_of_one_prompt_differ_by_their_seeds(make_model: Make, prefix: Tensor) -> None:
    model = make_model("llama")
    cache = prefix_cache(model, [prefix])
    rows = [Row((5, 6, 7), 0, seed) for seed in (1, 2, 1)]
    first, second, again = generate(model, cache, rows, Sampling(max_new_tokens=10), eos_ids=[])
    assert first == again
    assert first != second


def test_a_completion_ends_with_its_end_token(make_model: Make, prefix: Tensor) -> None:
    model = make_model("llama")
    cache = prefix_cache(model, [prefix])
    rows = [Row((5, 6, 7), 0, seed) for seed in range(6)]
    free = generate(model, cache, rows, Sampling(max_new_tokens=10), eos_ids=[])
    end = free[0][3]
    ended = generate(model, cache, rows, Sampling(max_new_tokens=10), eos_ids=[end])
    for whole, cut in zip(free, ended, strict=True):
        stop = whole.index(end) + 1 if end in whole else len(whole)
        assert cut == whole[:stop]


def test_the_callback_names_every_finished_row_once(make_model: Make, prefix: Tensor) -> None:
    model = make_model("llama")
    seen: dict[int, list[int]] = {}
    rows = [Row((5, 6, n), 0, n) for n in range(3, 8)]
    results = generate(
        model,
        prefix_cache(model, [prefix]),
        rows,
        GREEDY,
        eos_ids=[],
        batch_size=2,
        on_finished=lambda row, completion: seen.__setitem__(row, completion),
    )
    assert [seen[row] for row in range(5)] == results


def test_nucleus_sampling_draws_the_renormalised_nucleus() -> None:
    # Of .5 .25 .15 .06 .04 a nucleus of .8 holds the first three; renormalised: .5556 .2778 .1667.
    probabilities = torch.tensor([0.06, 0.5, 0.15, 0.04, 0.25])
    n_rows = 20_000
    noise = row_noise(range(n_rows), 1)[:, 0]
    drawn = next_tokens(probabilities.log().expand(n_rows, -1), noise, Sampling(top_p=0.8))
    counts = Counter(drawn.tolist())
    assert set(counts) == {1, 2, 4}
    # Four standard errors of a share of .5556 in 20,000 draws are .014.
    assert counts[1] / n_rows == pytest.approx(0.5 / 0.9, abs=0.014)
    assert counts[4] / n_rows == pytest.approx(0.25 / 0.9, abs=0.014)


def test_a_narrow_nucleus_in_a_flat_distribution_is_still_exact() -> None:
    # The likeliest token has 1 of 101 parts; a nucleus of .005 holds it alone, and rejection alone would not find it.
    weights = torch.ones(100)
    weights[42] = 2.0
    noise = row_noise(range(200), 1)[:, 0]
    drawn = next_tokens(weights.log().expand(200, -1), noise, Sampling(top_p=0.005))
    assert drawn.unique().tolist() == [42]
