"""p-values of many comparisons, adjusted so that chance finds among them are bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: rejecting those <= alpha makes any false rejection at most alpha likely.

    Sorted ascending, the i-th of m (from 0) is the running maximum of (m - i) * p, at most 1. Valid under any
    dependence (Holm 1979, Scandinavian Journal of Statistics 6).

    Raises:
        ValueError: A p-value lies outside [0, 1].
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    return _restored(np.maximum.accumulate(values[order] * factors), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values: rejecting those <= q makes the expected share of false rejections at most q.

    Sorted ascending, the i-th of m (from 1) is the running minimum, from the largest down, of p * m / i. Valid for
    independent or positively dependent tests (Benjamini and Hochberg 1995, JRSS B 57).

    Raises:
        ValueError: A p-value lies outside [0, 1].
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _restored(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _checked(p_values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():  # NaN fails both
        raise ValueError(f"expected p-values within 0 and 1, got {list(p_values)}")
    return values


def _restored(adjusted: np.ndarray, order: np.ndarray) -> list[float]:
    result = np.empty(len(order))
    result[order] = np.minimum(adjusted, 1.0)
    return [float(value) for value in result]
