"""Sampling for measurements: many patches, prompts and samples in one pass, patches sharing their noise."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from compose.base import Base, stop_ids
from compose.digest import canonical_json
from compose.engine import Row, Sampling, generate
from compose.engine.prefix import PrefixCache
from compose.evaluate.prompts import Prompt, render
from compose.progress import bar

Purpose = str
"""Why samples are drawn: `measure` or `screen`. The same seed gives other noise for another purpose."""


class Completion(NamedTuple):
    """What was written, and whether the limit on new tokens cut it off."""

    text: str
    truncated: bool


def row_seed(seed: int, prompt_id: str, sample: int, purpose: Purpose = "measure") -> int:
    """Return the seed of one sample's noise, in [0, 2**63).

    The patch has no part in it: all patches answer a prompt with common random numbers, so that they differ
    by what they are and less by luck, and comparisons between them are paired.
    """
    digest = hashlib.sha256(canonical_json([purpose, seed, prompt_id, sample])).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sample_completions(
    base: Base,
    cache: PrefixCache,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int,
    seed: int,
    purpose: Purpose = "measure",
    label: str = "generate",
    batch_size: int = 128,
) -> list[list[list[Completion]]]:
    """Return the completions as [patch][prompt][sample], in the order of the cache and of `prompts`.

    Args:
        base: The frozen model.
        cache: The prefixes; every one of them answers every prompt.
        prompts: What is asked.
        sampling: How tokens are drawn.
        samples: Completions a prompt; with greedy sampling they are all the same.
        seed: The experiment's seed.
        purpose: See `Purpose`.
        label: What the progress bar says.
        batch_size: Rows in one batch.
    """
    encoded = [render(base.tokenizer, prompt) for prompt in prompts]
    rows = [
        Row(ids, patch, row_seed(seed, prompt.id, sample, purpose))
        for patch in range(len(cache.prefixes))
        for prompt, ids in zip(prompts, encoded, strict=True)
        for sample in range(samples)
    ]
    with bar(len(rows), label, unit="text") as progress:

        def finished(_: int, __: list[int]) -> None:
            progress.update(1)

        stops = stop_ids(base)
        ids = generate(
            base.model,
            cache,
            rows,
            sampling,
            eos_ids=stops,
            batch_size=batch_size,
            on_finished=finished,
        )
    texts = base.tokenizer.batch_decode(ids, skip_special_tokens=True)
    made = iter([Completion(text, not (row and row[-1] in stops)) for text, row in zip(texts, ids, strict=True)])
    return [[[next(made) for _ in range(samples)] for _ in prompts] for _ in cache.prefixes]


def texts_of(completions: Sequence[Sequence[Completion]]) -> list[list[str]]:
    """Return the words of completions given as [prompt][sample]."""
    return [[one.text for one in samples] for samples in completions]


def cuts_of(completions: Sequence[Sequence[Completion]]) -> list[list[bool]]:
    """Return which completions the token limit cut, as [prompt][sample]."""
    return [[one.truncated for one in samples] for samples in completions]
