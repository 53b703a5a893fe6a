"""Texts as numbers: hashed words and character sequences, a few measures of the surface, sentence embeddings.

No word list is stored anywhere: a word is a place in a table (feature hashing, Weinberger et al. 2009, 0902.2206).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float

WORDS = 2**16
CHARACTERS = 2**17
HASHED = WORDS + CHARACTERS
"""Width of the hashed part: words and punctuation first, character sequences behind them."""
LONGEST_SEQUENCE = 6
OPENING_CHARACTERS = 200
"""A refusal comes first: what stands there is looked at apart."""
WORD = re.compile(r"\w+")
WORD_OR_SIGN = r"(?u)\b\w+\b|[^\w\s]"
SURFACE = (
    "profanity",
    "profanity logit",
    "worst word",
    "worst word logit",
    "three worst words",
    "length",
    "capitals",
    "asterisk",
    "exclamations",
)
"""Names of the surface measures, in the order of their columns."""
SMALLEST = 1e-3

Sparse = Any
"""A scipy matrix in CSR layout; scipy ships no types."""


def hashed(texts: Sequence[str]) -> Sparse:
    """Return which of the hashed features each text has, as 0 and 1, [texts, HASHED].

    Words of any length, and all sequences of 1 to 6 characters, of the text in lower case.
    """
    from sklearn.feature_extraction.text import HashingVectorizer  # two thirds of a second

    same: dict[str, Any] = {"alternate_sign": False, "norm": None, "binary": True}
    words = HashingVectorizer(n_features=WORDS, token_pattern=WORD_OR_SIGN, **same)
    characters = HashingVectorizer(n_features=CHARACTERS, analyzer="char", ngram_range=(1, LONGEST_SEQUENCE), **same)
    plain = [" ".join(text.replace("\u2019", "'").split()) for text in texts]
    return sparse.hstack([words.transform(plain), characters.transform(plain)]).tocsr()


def rarity(found: Sparse) -> Float[np.ndarray, " hashed"]:
    """Return how rare each feature is among texts, log((1 + n) / (1 + df)) + 1 (inverse document frequency)."""
    texts = found.shape[0]
    frequency = np.asarray((found > 0).sum(axis=0)).ravel()
    result: Float[np.ndarray, " hashed"] = np.log((1 + texts) / (1 + frequency)) + 1
    return result


def weighted(found: Sparse, rare: Float[np.ndarray, " hashed"]) -> Sparse:
    """Return the features times their rarity, words and characters each scaled to length 1."""
    scaled = (found @ sparse.diags(rare)).tocsr()
    return sparse.hstack([_unit(scaled[:, :WORDS]), _unit(scaled[:, WORDS:])]).tocsr()


def surface(texts: Sequence[str]) -> Float[np.ndarray, "texts measures"]:
    """Return the surface measures of each text; profanity is alt-profanity-check's probability."""
    import profanity_check

    words = [WORD.findall(text.lower()) for text in texts]
    vocabulary = sorted({word for each in words for word in each})
    # One word at a time it tells *where* a text is profane, which a mean over a long text hides.
    worst = dict(zip(vocabulary, profanity_check.predict_prob(vocabulary), strict=True)) if vocabulary else {}
    whole = profanity_check.predict_prob([text or " " for text in texts])
    rows = []
    for text, each, profanity in zip(texts, words, whole, strict=True):
        top = sorted((float(worst[word]) for word in each), reverse=True)[:3] or [0.0]
        letters = sum(character.isupper() for character in text)
        rows.append(
            [
                float(profanity),
                _logit(float(profanity)),
                top[0],
                _logit(top[0]),
                sum(top),
                float(np.log1p(len(text))),
                letters / max(1, len(text)),
                float("*" in text),
                float(min(3, text.count("!"))),
            ]
        )
    return np.asarray(rows, dtype=np.float64).reshape(len(texts), len(SURFACE))


def opening(text: str) -> str:
    """Return the start of a text."""
    return " ".join(text.split())[:OPENING_CHARACTERS]


def _unit(block: Sparse) -> Sparse:
    length = np.sqrt(np.asarray(block.multiply(block).sum(axis=1)).ravel())
    return sparse.diags(1 / np.maximum(length, 1e-9)) @ block


def _logit(share: float) -> float:
    cut = min(1 - SMALLEST, max(SMALLEST, share))
    return float(np.log(cut / (1 - cut)))
