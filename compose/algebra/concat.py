"""Concatenation: the rows of one patch after those of another. Order matters to the model, and here too."""

from __future__ import annotations

import torch

from compose.algebra.result import check_parts, composed, refuse
from compose.artifact import Patch
from compose.records import MAX_TOKENS


def concat(*patches: Patch) -> Patch:
    """Return [A; B; ...], whose last part stands nearest the prompt (Arif et al. 2025, arXiv 2511.08484).

    Args:
        *patches: [tokens_i, dim] each, of one base.

    Returns:
        A patch [sum of tokens_i, dim].

    Raises:
        Rejected: `base-mismatch` or `composition-invalid`.
    """
    check_parts("concat", patches)
    tokens = sum(patch.card.tokens for patch in patches)
    if tokens > MAX_TOKENS:
        refuse(
            "concat",
            expected=f"at most {MAX_TOKENS} tokens",
            got=f"{tokens}",
            fix="compose fewer or shorter patches",
        )
    return composed("concat", torch.cat([patch.prefix for patch in patches]), patches)
