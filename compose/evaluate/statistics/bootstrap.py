"""Paired bootstrap over prompts, and over seeds and prompts crossed.

Notation: an array of safety is [seeds, prompts], or [prompts] for one seed. Every seed saw the same prompts,
so both are resampled, each as a whole: a draw weighs every cell by (times its seed was drawn) x (times its
prompt was drawn). This is the pigeonhole bootstrap (Owen 2007, 0712.1111), wide rather than narrow. With few
seeds an interval cannot say much about seeds: with one, it is over prompts alone. Whatever is compared shares
the same draws: it is paired. Prompts that have something in common (a profession, a template's origin) are drawn
together, as one group: they are not independent of each other, and drawn apart they make intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from compose.evaluate.statistics.rates import LEVEL

DRAWS = 2000
Groups = Sequence[Hashable] | None
"""The group of every prompt, in the prompts' order; None when each prompt stands for itself."""
Array = np.ndarray[Any, np.dtype[np.float64]]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Estimate:
    """A derived number with its interval; `value` None is undefined, and `reason` then says why.

    Attributes:
        value: The number.
        low: Lower end of the 95% interval; None where there is none.
        high: Upper end of the interval.
        n: How many prompts it rests on.
        reason: Why the value is undefined, or what must be known before it is believed.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Weights:
    """Resampling weights; every row adds up to 1."""

    seeds: Float[np.ndarray, "draws seeds"]
    prompts: Float[np.ndarray, "draws prompts"]

    def means(self, values: Float[np.ndarray, "seeds prompts"]) -> Float[np.ndarray, " draws"]:
        """Return the resampled means of an array."""
        result: Array = ((self.seeds @ values) * self.prompts).sum(axis=1)
        return result


def resample(
    seeds: int, prompts: int, *, groups: Groups = None, draws: int = DRAWS, seed: int = 0, stream: int = 0
) -> Weights:
    """Return bootstrap weights.

    Args:
        seeds: Number of seeds; a single one is not resampled.
        prompts: Number of prompts.
        groups: The group of each prompt: whole groups are drawn.
        draws: Number of resamples.
        seed: Seed of the resampling.
        stream: Prompts of another stream are drawn independently, the seeds stay the same draws: for several
            risks that share their seeds and not their prompts.

    Raises:
        ValueError: There is not one group for each prompt.
    """
    by_seed: Array = np.ones((draws, 1))
    if seeds > 1:
        by_seed = _counts(np.random.default_rng([seed, 0]), seeds, draws)
    rng = np.random.default_rng([seed, 1, stream])
    if groups is None:
        return Weights(by_seed, _counts(rng, prompts, draws))
    if len(groups) != prompts:
        raise ValueError(f"expected one group for each of {prompts} prompts, got {len(groups)}")
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    drawn = _counts(rng, len(number), draws)[:, [number[group] for group in groups]]
    # Groups differ in size, so a draw holds more or fewer prompts: each still weighs its prompts to one.
    return Weights(by_seed, drawn / drawn.sum(axis=1, keepdims=True))


def _counts(rng: np.random.Generator, n: int, draws: int) -> Array:
    shares: Array = rng.multinomial(n, np.full(n, 1 / n), size=draws) / n
    return shares


def table(values: ArrayLike) -> Float[np.ndarray, "seeds prompts"]:
    """Return values as a float64 [seeds, prompts] array.

    Raises:
        ValueError: There are no values, or the array has more than two axes, or NaN in it.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected finite values as [prompts] or [seeds, prompts], got shape {array.shape}")
    return array


def tables(*values: ArrayLike) -> tuple[Float[np.ndarray, "seeds prompts"], ...]:
    """Return several arrays as [seeds, prompts], all of one shape: they pair.

    Raises:
        ValueError: Their shapes differ, or see `table`.
    """
    arrays = tuple(table(value) for value in values)
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"arrays of different shapes do not pair: {sorted(shapes)}")
    return arrays


def on_shared(tables: Sequence[Mapping[str, Value]]) -> tuple[list[str], list[list[Value]]]:
    """Return the prompts that every table has, in the first one's order, and each table's values of them.

    Args:
        tables: At least one, by prompt.
    """
    common = [key for key in tables[0] if all(key in one for one in tables)]
    return common, [[one[key] for key in common] for one in tables]


def interval(draws: Float[np.ndarray, " draws"], level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(
    after: ArrayLike, before: ArrayLike, *, groups: Groups = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the mean of `after - before` with its paired bootstrap interval.

    Raises:
        ValueError: The arrays do not pair, or there is not one group for each prompt.
    """
    late, early = tables(after, before)
    weights = resample(*late.shape, groups=groups, draws=draws, seed=seed)
    low, high = interval(weights.means(late - early))
    return Estimate(float((late - early).mean()), low, high, late.shape[1])
