"""Benchmarks through lm-eval, with the patch active: tasks, the engine as lm-eval's model, and a record to check.

lm-eval is an optional extra: nothing here but `model` and `tasks` imports it.
"""

from __future__ import annotations

from importlib.util import find_spec

from compose.errors import Rejected

INSTALL = "pip install 'compose[benchmark]' (in a checkout: make benchmark)"
"""How the extra is installed."""


def require_lm_eval() -> None:
    """Refuse where lm-eval is not installed.

    Raises:
        Rejected: `extra-missing`.
    """
    if find_spec("lm_eval") is None:
        raise Rejected(
            "extra-missing",
            subject="compose benchmark",
            expected="the package lm_eval, which the extra `benchmark` brings",
            got="no such package in this environment",
            fix=INSTALL,
        )
