"""What a lock's method makes of its patches, without torch: a second implementation of the algebra, to the same bit.

`compose.algebra` makes a result, this checks it: an error in one of them shows as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from compose.errors import Rejected
from compose.patch_files import Contents, values_digest
from compose.trust.claims import Lock, MethodClaim

Values = Float32[ndarray, "tokens dim"]


def result_of(lock: Lock, members: Sequence[Contents], init: Contents | None = None) -> Values:
    """Return the matrix that the lock's method makes of the members, [tokens, dim], float32.

    Args:
        lock: The lock.
        members: What its patches hold, in the lock's order.
        init: The start that a sum is made over.

    Raises:
        Rejected: `composition-invalid`, when the method cannot be applied to them.
    """
    matrices = [member.values for member in members]
    method = lock.method
    if len({matrix.shape[1] for matrix in matrices}) != 1:
        raise _invalid(method, "patches of one width", f"widths {[matrix.shape[1] for matrix in matrices]}")
    if method.name == "concat":
        return np.concatenate(matrices)
    if method.name == "slice":
        return _slice(method, matrices)
    if len({matrix.shape for matrix in matrices}) != 1:
        raise _invalid(method, "patches of one shape", f"shapes {[matrix.shape for matrix in matrices]}")
    if method.name == "mean":
        return _sum_of(_weights(method, len(matrices)), matrices).astype(np.float32)
    if init is None or init.values.shape != matrices[0].shape:
        raise _invalid(method, "the start that the patches share", "none, or one of another shape")
    total = _sum_of([1.0] * len(matrices), matrices)
    if len(matrices) > 1:
        total = total - init.values.astype(np.float64) * (len(matrices) - 1)
    return total.astype(np.float32)


def expression_of(lock: Lock, members: Sequence[Contents], init_name: str = "init") -> str:
    """Return how the result is written down: the one spelling of `compose.algebra.expression`.

    Args:
        lock: The lock.
        members: What its patches hold, in the lock's order.
        init_name: What the start of a sum is called.
    """
    parts = [
        (member.card.expression if member.card is not None else None) or f"{patch.name}@{patch.digest}"
        for patch, member in zip(lock.patches, members, strict=True)
    ]
    method = lock.method
    if method.name == "mean":
        parts.append(f"weights=[{', '.join(map(repr, _weights(method, len(members))))}]")
    elif method.name == "slice":
        parts += [f"{key}={method.params.get(key)!r}" for key in ("start", "stop")]
    elif method.name == "sum":
        parts.append(f"init={init_name}@{method.params.get('init')}")
    return f"{method.name}({', '.join(parts)})"


def _sum_of(weights: Sequence[float], matrices: Sequence[Values]) -> Float64[ndarray, "tokens dim"]:
    """Return the weighted sum in float64, added up in the order of the digests as `algebra.result.exact_sum` does."""
    ordered = sorted(zip(weights, matrices, strict=True), key=lambda term: (values_digest(term[1]), term[0]))
    products = [matrix.astype(np.float64) * weight for weight, matrix in ordered if weight != 0.0]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


def _slice(method: MethodClaim, matrices: Sequence[Values]) -> Values:
    """Return the rows that are kept."""
    start, stop = method.params.get("start"), method.params.get("stop")
    whole = type(start) is int and type(stop) is int
    if len(matrices) != 1 or not whole or not 0 <= start < stop <= matrices[0].shape[0]:  # type: ignore[operator]
        raise _invalid(method, "one patch, and 0 <= start < stop <= its rows", f"start {start}, stop {stop}")
    return matrices[0][start:stop]


def _weights(method: MethodClaim, n: int) -> list[float]:
    """Return the weights of a mean: those given, or equal ones."""
    given = method.params.get("weights")
    if given is None:
        return [1 / n] * n
    if not isinstance(given, tuple) or len(given) != n or not any(given):
        raise _invalid(method, f"{n} weights that are not all zero", f"{given!r}")
    return [float(weight) for weight in given]


def _invalid(method: MethodClaim, expected: str, got: str) -> Rejected:
    """Return the error about a method that cannot be applied."""
    return Rejected(
        "composition-invalid",
        subject=f"{method.name} of patches",
        expected=expected,
        got=got,
        fix="make the lock again with `compose lock`",
    )
