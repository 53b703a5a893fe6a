"""Pure functions from patches to a patch: float64 on the CPU, the same bytes on every machine.

`METHODS` holds them by name; `apply` calls one by name; `recompute` makes a patch anew from its provenance.
"""

from compose.algebra.concat import concat
from compose.algebra.expression import Call, Expression, Leaf, parse
from compose.algebra.mean import mean
from compose.algebra.registry import METHODS, apply, recompute
from compose.algebra.slice import slice
from compose.algebra.sum import sum

__all__ = [
    "METHODS",
    "Call",
    "Expression",
    "Leaf",
    "apply",
    "concat",
    "mean",
    "parse",
    "recompute",
    "slice",
    "sum",
]
