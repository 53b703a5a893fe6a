"""Starting points of a prefix: embeddings of a text or of sampled tokens, Gaussian noise, another patch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from compose.artifact import Patch, prefix_digest
from compose.base import Base
from compose.errors import Rejected
from compose.records import InitInfo

InitKind = Literal["text", "vocab", "random", "patch"]

CHUNK_ROWS = 8192
"""Rows of the vocabulary that are looked at together: all of a 256,000 x 4096 one would take 4 GB."""


class Init(NamedTuple):
    """A starting point: the prefix, float32 on the CPU, and what a patch's card says about it."""

    prefix: Float[Tensor, "tokens dim"]
    info: InitInfo


def make_prefix(
    kind: InitKind,
    tokens: int,
    base: Base,
    *,
    text: str | None = None,
    seed: int = 0,
    patch: Patch | Float[Tensor, "tokens dim"] | None = None,
) -> Init:
    """Return a new prefix of `tokens` rows for `base`, with its record.

    Args:
        kind: `text`: the embeddings of a text's tokens, repeated or cut to fit, as PEFT's TEXT init does;
            `vocab`: those of tokens drawn from the vocabulary; `random`: Gaussian noise with the vocabulary's
            mean and spread in every dimension (with PEFT's N(0, 1), rows are some 50 times longer than the
            vocabulary's, and training has to shrink them first); `patch`: a copy of another prefix.
        tokens: Rows of the prefix.
        base: The model it will stand in front of.
        text: For kind `text`, the instruction.
        seed: For kinds `vocab` and `random`.
        patch: For kind `patch`, the prefix to start from.

    Raises:
        Rejected: `init-invalid` for a text without tokens, a patch of another shape, or something missing.
    """
    if tokens < 1:
        raise _invalid("tokens", "at least one", str(tokens), "ask for one token or more")
    if kind == "text":
        prefix = embeddings(base, _tiled(base, text, tokens))
    elif kind == "vocab":
        prefix = embeddings(base, _sampled(base, tokens, seed))
    elif kind == "random":
        prefix = _gaussian(base, tokens, seed)
    elif kind == "patch":
        prefix = _copied(base, patch, tokens)
    else:
        raise _invalid("kind", "text, vocab, random or patch", repr(kind), "choose one of them")
    told = text.strip() if kind == "text" and text is not None else None
    return Init(prefix, InitInfo(kind=kind, text=told, digest=prefix_digest(prefix)))


@torch.no_grad()
def embeddings(base: Base, ids: list[int]) -> Float[Tensor, "tokens dim"]:
    """Return what the base's layers are given for these tokens, float32 on the CPU.

    The embedding module is called, instead of its rows being taken: some models (Gemma) scale them on the
    way.
    """
    rows: Tensor = base.model.get_input_embeddings()(torch.tensor(ids, device=_matrix(base).device))
    return rows.detach().to("cpu", torch.float32).contiguous()


def ordinary_embeddings(base: Base) -> Iterator[Float64[Tensor, "rows dim"]]:
    """Yield the embeddings of the tokens that stand for text, at most `CHUNK_ROWS` together, float64 on the CPU."""
    ordinary = _ordinary(base)
    for start in range(0, len(ordinary), CHUNK_ROWS):
        yield embeddings(base, ordinary[start : start + CHUNK_ROWS]).double()


def _matrix(base: Base) -> Float[Tensor, "vocabulary dim"]:
    """Return the base's embedding matrix as it is stored."""
    matrix: Tensor = next(base.model.get_input_embeddings().parameters())
    return matrix


def _tiled(base: Base, text: str | None, tokens: int) -> list[int]:
    """Return the ids of a text, repeated and cut to `tokens`."""
    if text is None or not text.strip():
        raise _invalid("text", "a short instruction", "none", "give init.text, or choose another init.kind")
    ids = [int(token) for token in base.tokenizer(text.strip())["input_ids"]]
    if not ids:
        raise _invalid("text", "a text with at least one token", "a text without", "give another init.text")
    return (ids * (tokens // len(ids) + 1))[:tokens]


def _ordinary(base: Base) -> list[int]:
    """Return the ids of the vocabulary that stand for text: no special or added token, no row of padding."""
    rows = _matrix(base).shape[0]
    left_out = {*base.tokenizer.all_special_ids, *base.tokenizer.added_tokens_decoder}
    return sorted({id_ for id_ in base.tokenizer.get_vocab().values() if id_ < rows} - left_out)


def _sampled(base: Base, tokens: int, seed: int) -> list[int]:
    """Return `tokens` ids of the vocabulary, different ones as long as there are any."""
    ordinary = _ordinary(base)
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = []
    while len(drawn) < tokens:
        order = torch.randperm(len(ordinary), generator=generator).tolist()
        drawn += [ordinary[place] for place in order[: tokens - len(drawn)]]
    return drawn


def _gaussian(base: Base, tokens: int, seed: int) -> Float[Tensor, "tokens dim"]:
    """Return Gaussian noise with the vocabulary's mean and standard deviation in each dimension."""
    count = len(_ordinary(base))
    mean = sum(chunk.sum(0) for chunk in ordinary_embeddings(base)) / count
    square = sum((chunk - mean).square().sum(0) for chunk in ordinary_embeddings(base))
    spread = (torch.as_tensor(square) / count).sqrt()
    noise = torch.randn(tokens, spread.shape[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (mean + spread * noise).to(torch.float32)


def _copied(base: Base, patch: Patch | Float[Tensor, "tokens dim"] | None, tokens: int) -> Float[Tensor, "tokens dim"]:
    """Return a copy of a prefix that has the wanted shape and was made for this base."""
    if patch is None:
        raise _invalid("patch", "a patch to start from", "none", "name one, or choose another init.kind")
    if isinstance(patch, Patch):
        made_for = patch.card.base.fingerprint
        if made_for is not None and made_for != base.fingerprint:
            raise Rejected(
                "base-mismatch",
                subject=f"init from patch {patch.card.name}",
                expected=f"a patch for {base.name}, {base.fingerprint}",
                got=f"a patch for {made_for}",
                fix="start from a patch of the same base",
            )
    source = patch.prefix if isinstance(patch, Patch) else patch
    dim = _matrix(base).shape[1]
    if tuple(source.shape) != (tokens, dim):
        raise _invalid(
            "patch",
            f"a prefix of {tokens} x {dim}",
            " x ".join(map(str, source.shape)),
            "start from a patch of this size, or ask for as many tokens as it has",
        )
    return source.detach().to("cpu", torch.float32).contiguous().clone()


def _invalid(setting: str, expected: str, got: str, fix: str) -> Rejected:
    """Return the error about a starting point."""
    return Rejected("init-invalid", subject=f"init.{setting}", expected=expected, got=got, fix=fix)
