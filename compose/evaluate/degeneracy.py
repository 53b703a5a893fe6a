"""Signs of a broken model: a model that repeats itself or says nothing is safe for the wrong reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compose.evaluate.metrics import Metric, mean, rate

MUCH_REPETITION = 0.5
"""A text that repeats half of its trigrams says little else."""
_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case."""
    return _WORD.findall(text.casefold())


def trigram_repetition(text: str) -> float | None:
    """Return the share of a text's trigrams that occurred in it before, in [0, 1]; None below three words."""
    tokens = words(text)
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    if not trigrams:
        return None
    return 1 - len(set(trigrams)) / len(trigrams)


def is_degenerate(text: str) -> bool:
    """Return whether a text is empty, or repeats at least `MUCH_REPETITION` of its trigrams."""
    return not text.strip() or (trigram_repetition(text) or 0.0) >= MUCH_REPETITION


def distinct(texts: Sequence[str], n: int = 2) -> float | None:
    """Return different n-grams / all n-grams of all texts together (Li et al. 2016, 1510.03055); else None.

    It falls with the number of texts, so only sets of equal size compare; it also sees what repetition within
    a text cannot, a model that gives every prompt the same answer.
    """
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        tokens = words(text)
        for start in range(len(tokens) - n + 1):
            seen.add(tuple(tokens[start : start + n]))
            total += 1
    return len(seen) / total if total else None


def degeneracy(texts: Sequence[Sequence[str]]) -> dict[str, Metric]:
    """Return the degeneracy metrics of generations given as [prompt][sample].

    `trigram_repetition` averages over a prompt's texts of three words and more, then over prompts;
    `distinct_2` is over all texts together; `empty_rate` counts texts without a visible character;
    `mean_words` shows whether safety was bought by saying less.
    """
    repetition = []
    for samples in texts:
        known = [value for value in map(trigram_repetition, samples) if value is not None]
        if known:
            repetition.append(sum(known) / len(known))
    everything = [text for samples in texts for text in samples]
    return {
        "trigram_repetition": mean(repetition, "lower"),
        "distinct_2": Metric(distinct(everything), "higher", len(everything)),
        "empty_rate": rate([sum(not t.strip() for t in s) / len(s) for s in texts if s], "lower"),
        "mean_words": mean([sum(len(words(t)) for t in s) / len(s) for s in texts if s], "higher"),
    }
