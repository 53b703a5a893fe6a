"""Proof, on every load, that a patch is active and gives the logits recorded with it.

For a safety patch the worst failure is the silent one: a backend that drops the prefix still writes fluent text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from compose.engine.plain import plain_logits
from compose.engine.score import shared_logits
from compose.engine.sharing import prefix_cache
from compose.errors import Rejected
from compose.records import SelfTest

PROBE = "The committee will publish its report on the city's libraries next week, and the first page says that"
_N_VOCABULARY = 16
_LEAST_EFFECT = 1e-3
# Other machines and reduced precision move logits by little compared with what a patch does to them.
_TOLERATED_SHARE_OF_EFFECT = 0.1


@torch.no_grad()
def _logits(
    model: PreTrainedModel, prefix: Float[Tensor, "tokens dim"] | None, ids: tuple[int, ...]
) -> Float[Tensor, "text vocab"]:
    """Return the engine's logits of one row, on whichever path the base takes."""
    cache = prefix_cache(model, [prefix])
    if cache.plain_reason is not None:
        return plain_logits(model, cache.prefixes[0], ids).float().cpu()
    return shared_logits(model, cache, [ids], [0])[0].float().cpu()


def record_self_test(model: PreTrainedModel, prefix: Float[Tensor, "tokens dim"], token_ids: Sequence[int]) -> SelfTest:
    """Return the logits of a probe at the vocabulary entries on which the patch acts most.

    Raises:
        Rejected: When the patch changes no logit: it would be indistinguishable from a patch that is not there.
    """
    ids = tuple(token_ids)
    patched, base = _logits(model, prefix, ids), _logits(model, None, ids)
    positions = (len(ids) // 2, len(ids) - 1)
    effect = (patched - base)[list(positions)].abs()
    largest = float(effect.max())
    if not largest > _LEAST_EFFECT:
        raise Rejected(
            "self-test-failed",
            subject="a patch on its probe text",
            expected=f"logits that differ from the base's by more than {_LEAST_EFFECT}",
            got=f"a largest difference of {largest:.2g}",
            fix="train the patch further; a patch without effect cannot be told from a missing one",
        )
    vocabulary = effect.max(0).values.topk(min(_N_VOCABULARY, effect.shape[-1])).indices.tolist()
    return SelfTest(
        token_ids=ids,
        positions=positions,
        vocabulary=tuple(vocabulary),
        patched=_rows(patched[list(positions)][:, vocabulary]),
        base=_rows(base[list(positions)][:, vocabulary]),
        tolerance=min(10.0, max(_LEAST_EFFECT, _TOLERATED_SHARE_OF_EFFECT * largest)),
    )


def run_self_test(model: PreTrainedModel, prefix: Float[Tensor, "tokens dim"], test: SelfTest, name: str) -> None:
    """Check that the patch is active on this base and backend, and right.

    Raises:
        Rejected: When the patched logits equal the base's, or differ from the recorded ones.
    """
    patched, base = _logits(model, prefix, test.token_ids), _logits(model, None, test.token_ids)
    at = list(test.positions), list(test.vocabulary)
    patched, base = patched[at[0]][:, at[1]], base[at[0]][:, at[1]]
    off = float((patched - torch.tensor(test.patched)).abs().max())
    if float((patched - base).abs().max()) <= test.tolerance:
        _fail(name, "patched logits that differ from the base's", "the base's logits: the patch is not active")
    if not off <= test.tolerance:
        got = f"logits that are off by {off:.3g}"
        _fail(name, f"the logits recorded with the patch, to {test.tolerance:.3g}", got)


def _fail(name: str, expected: str, got: str) -> None:
    raise Rejected(
        "self-test-failed",
        subject=f"patch {name} on this base",
        expected=expected,
        got=got,
        fix="check that the base and its precision are the ones the patch was made with, and load the patch again",
    )


def _rows(logits: Float[Tensor, "positions vocabulary"]) -> tuple[tuple[float, ...], ...]:
    # Rounded so that a card is short and reads the same when it is parsed back.
    return tuple(tuple(round(value, 5) for value in row) for row in logits.tolist())
