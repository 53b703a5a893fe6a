"""The patched model: exact shared-prefix scoring and generation, for many patches in one batch.

Names are imported when they are first used: settings need `Sampling`, and reading settings must not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compose.engine.rows import Row, Sampling, ScoreRow

if TYPE_CHECKING:
    from compose.engine.decode import generate
    from compose.engine.patched import PatchedModel
    from compose.engine.score import completion_logprobs, next_token_logprobs
    from compose.engine.self_test import record_self_test, run_self_test
    from compose.engine.sharing import prefix_cache

__all__ = [
    "PatchedModel",
    "Row",
    "Sampling",
    "ScoreRow",
    "completion_logprobs",
    "generate",
    "next_token_logprobs",
    "prefix_cache",
    "record_self_test",
    "run_self_test",
]

_HOMES = {
    "PatchedModel": "patched",
    "completion_logprobs": "score",
    "generate": "decode",
    "next_token_logprobs": "score",
    "prefix_cache": "sharing",
    "record_self_test": "self_test",
    "run_self_test": "self_test",
}


def __getattr__(name: str) -> Any:
    """Return a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
