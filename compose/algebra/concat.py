"""Concatenation: the rows of one patch after those of another. Order matters to the model, and here too."""

from __future__ import annotations

import numpy as np

from compose.algebra.result import P, check_parts, composed, refuse
from compose.records import MAX_TOKENS


def concat(*patches: P) -> P:
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
    return composed("concat", np.concatenate([patch.values for patch in patches]), patches)
