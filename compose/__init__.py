"""compose: train, compose, measure and ship safety patches: learned soft prefixes for frozen language models.

The public names, and nothing else. Each is imported when it is first asked for: most take torch with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.algebra.concat import concat
    from compose.algebra.mean import mean
    from compose.algebra.slice import slice as slice_
    from compose.algebra.sum import sum as sum_
    from compose.artifact import Patch, adopt
    from compose.artifact import load as load_patch
    from compose.artifact import save as save_patch
    from compose.base import Base, load_base
    from compose.engine import Sampling
    from compose.engine.patched import PatchedModel
    from compose.errors import Rejected
    from compose.trust.applying import apply, apply_unverified_for_laboratory

__version__ = "0.1.0"

__all__ = [
    "Base",
    "Patch",
    "PatchedModel",
    "Rejected",
    "Sampling",
    "__version__",
    "adopt",
    "apply",
    "apply_unverified_for_laboratory",
    "concat",
    "load_base",
    "load_patch",
    "mean",
    "save_patch",
    "slice_",
    "sum_",
]

_HOMES: dict[str, tuple[str, str]] = {
    "Base": ("compose.base", "Base"),
    "Patch": ("compose.artifact", "Patch"),
    "PatchedModel": ("compose.engine.patched", "PatchedModel"),
    "Rejected": ("compose.errors", "Rejected"),
    "Sampling": ("compose.engine", "Sampling"),
    "adopt": ("compose.artifact", "adopt"),
    "apply": ("compose.trust.applying", "apply"),
    "apply_unverified_for_laboratory": ("compose.trust.applying", "apply_unverified_for_laboratory"),
    "concat": ("compose.algebra", "concat"),
    "load_base": ("compose.base", "load_base"),
    "load_patch": ("compose.artifact", "load"),
    "mean": ("compose.algebra", "mean"),
    "save_patch": ("compose.artifact", "save"),
    "slice_": ("compose.algebra", "slice"),
    "sum_": ("compose.algebra", "sum"),
}
"""Public name -> its module and its name there."""


def __getattr__(name: str) -> object:
    """Return a public name, imported now (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names beside the usual ones."""
    return sorted({*globals(), *__all__})
