"""What was forgotten: named conventions over an R matrix of safety, and retention with paired intervals.

Everything here is *safety*, higher is safer, so that forgetting above zero always means "became less safe".

Notation: `R[t][i]` is safety on risk i after stage t, columns in the order in which the arm learned the
risks, so that stage t learned risk t; T stages; columns from T on were never learned. `b` is the unpatched
base, `s` the specialists, `j` the joint patch. For one matrix the conventions give different numbers, even of
different sign: always print the name with the number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from compose.evaluate.statistics.bootstrap import (
    DRAWS,
    Array,
    Estimate,
    Groups,
    interval,
    paired_difference,
    resample,
    tables,
)

NO_GAIN = "the specialist gained nothing over the base"
UNSURE_GAIN = "the specialist's gain is not clear of zero"
ROUNDING = 1e-9


def r_matrix(rows: ArrayLike) -> Float[np.ndarray, "stages risks"]:
    """Return R as a float64 array.

    Raises:
        ValueError: It is no matrix, has more stages than risks, or a value outside [0, 1].
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or not 1 <= matrix.shape[0] <= matrix.shape[1]:
        raise ValueError(f"R must be [stages, risks] with at most one stage a risk, got shape {matrix.shape}")
    if not ((matrix >= -ROUNDING) & (matrix <= 1 + ROUNDING)).all():
        raise ValueError("R holds safety, so its values must be in [0, 1]")
    return matrix


def in_order(rows: ArrayLike, columns: Sequence[str], order: Sequence[str]) -> Float[np.ndarray, "stages risks"]:
    """Return R with its columns (named by `columns`) in the arm's order, risks it never learned last."""
    places = [columns.index(risk) for risk in order]
    places += [place for place in range(len(columns)) if place not in places]
    return r_matrix(np.asarray(rows, dtype=np.float64)[:, places])


def forgetting_by_risk(rows: ArrayLike) -> Float[np.ndarray, " earlier"]:
    """Return max over l < T-1 of R[l][i] - R[T-1][i] for each risk i learned before the last stage.

    Chaudhry et al. 2018 (1801.10112). All rows before the last count, and the last does not: a
    risk that was never safer than it is at the end has forgetting below zero. Empty with a single stage.
    """
    matrix = r_matrix(rows)
    earlier = matrix.shape[0] - 1
    if earlier == 0:
        return np.zeros(0)
    result: Array = matrix[:-1, :earlier].max(axis=0) - matrix[-1, :earlier]
    return result


def forgetting_chaudhry(rows: ArrayLike) -> float | None:
    """Return the mean of `forgetting_by_risk`, the default convention; None with a single stage."""
    return _mean(forgetting_by_risk(rows))


def forgetting_avalanche(rows: ArrayLike) -> float | None:
    """Return the mean of R[i][i] - R[T-1][i] over risks learned before the last stage, as Avalanche does."""
    matrix = r_matrix(rows)
    earlier = matrix.shape[0] - 1
    return _mean(matrix.diagonal()[:earlier] - matrix[-1, :earlier])


def forgetting_mammoth(rows: ArrayLike) -> float | None:
    """Return forgetting as Mammoth does: the maximum includes the last row, rows before learning count as 0.

    It is never below zero: a risk that improved counts as not forgotten.
    """
    matrix = r_matrix(rows)
    stages = matrix.shape[0]
    learned = np.tril(matrix[:, :stages])
    return _mean((learned.max(axis=0) - matrix[-1, :stages])[:-1])


def bwt_gem(rows: ArrayLike) -> float | None:
    """Return backward transfer, the mean of R[T-1][i] - R[i][i] over risks learned before the last stage.

    Lopez-Paz and Ranzato 2017 (1706.08840). Below zero means forgotten.
    """
    avalanche = forgetting_avalanche(rows)
    return None if avalanche is None else -avalanche


def fwt_gem(rows: ArrayLike, base: ArrayLike) -> float | None:
    """Return forward transfer, the mean of R[i-1][i] - b[i] over risks learned after the first stage.

    Lopez-Paz and Ranzato 2017 (1706.08840) with the unpatched base in place of a random network.
    """
    matrix, b = r_matrix(rows), np.asarray(base, dtype=np.float64)
    learned = np.arange(1, matrix.shape[0])
    return _mean(matrix[learned - 1, learned] - b[learned])


def intransigence(rows: ArrayLike, joint: ArrayLike) -> Float[np.ndarray, " stages"]:
    """Return j[i] - R[i][i] for each learned risk: what the joint patch learned and this arm did not.

    Chaudhry et al. 2018 (1801.10112).
    """
    matrix, j = r_matrix(rows), np.asarray(joint, dtype=np.float64)
    result: Array = j[: matrix.shape[0]] - matrix.diagonal()
    return result


CONVENTIONS: Mapping[str, Callable[[ArrayLike], float | None]] = MappingProxyType(
    {
        "forgetting_chaudhry": forgetting_chaudhry,
        "forgetting_avalanche": forgetting_avalanche,
        "forgetting_mammoth": forgetting_mammoth,
        "bwt_gem": bwt_gem,
    }
)
"""Every convention that needs R alone, by the name to print."""


def _mean(values: Float[np.ndarray, " risks"]) -> float | None:
    return float(values.mean()) if values.size else None


@dataclass(frozen=True)
class StabilityGap:
    """How far a risk fell while another was being learned, and whether it came back.

    Attributes:
        start: Safety before the stage's first step.
        lowest: Lowest safety at any evaluated step of the stage.
        end: Safety at its last step.
    """

    start: float
    lowest: float
    end: float

    @property
    def gap(self) -> float:
        """How far it fell, never below zero."""
        return max(0.0, self.start - self.lowest)

    @property
    def recovered(self) -> float:
        """How much of the fall was made up by the end."""
        return self.end - self.lowest


def stability_gap(curve: Sequence[float]) -> StabilityGap:
    """Return the gap of one risk's safety at the evaluated steps of one stage, its start included.

    After De Lange et al. 2022 (2205.13452). It is only as fine as the evaluations inside the stage.

    Raises:
        ValueError: There are fewer than two points: a stage's start and its end.
    """
    if len(curve) < 2:
        raise ValueError("a curve needs the start and the end of its stage")
    return StabilityGap(curve[0], min(curve), curve[-1])


@dataclass(frozen=True)
class Kept:
    """Safety per prompt, [prompts] or [seeds, prompts], behind one retention.

    Attributes:
        final: After the arm's last stage.
        base: Of the unpatched base.
        specialist: Of the risk's specialist.
        groups: The group of each prompt, where prompts depend on each other.
    """

    final: ArrayLike
    base: ArrayLike
    specialist: ArrayLike
    groups: Groups = None


def retention(kept: Kept, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return (R - b) / (s - b), the share of the specialist's gain that an arm kept, with a paired interval.

    1 is all of it, 0 none, below 0 less safe than the unpatched base. The value is None (undefined) when the
    specialist gained nothing; when its gain is not clear of zero the value is given without an interval.
    `reason` says which.

    Raises:
        ValueError: The arrays do not pair.
    """
    final, base, specialist = tables(kept.final, kept.base, kept.specialist)
    prompts = final.shape[1]
    gain = paired_difference(specialist, base, groups=kept.groups, draws=draws, seed=seed)
    if gain.value is None or gain.value <= 0:
        return Estimate(None, n=prompts, reason=NO_GAIN)
    value = float((final - base).mean()) / gain.value
    if gain.low is None or gain.low <= 0:
        return Estimate(value, n=prompts, reason=UNSURE_GAIN)
    low, high = interval(_finite(_retention_draws(kept, draws=draws, seed=seed, stream=0)))
    return Estimate(value, low, high, prompts)


def _retention_draws(kept: Kept, *, draws: int, seed: int, stream: int) -> Float[np.ndarray, " draws"]:
    """Return resampled retentions; NaN in the few draws in which the specialist gained nothing."""
    final, base, specialist = tables(kept.final, kept.base, kept.specialist)
    weights = resample(*final.shape, groups=kept.groups, draws=draws, seed=seed, stream=stream)
    gain, part = weights.means(specialist - base), weights.means(final - base)
    result: Array = np.full(draws, np.nan)
    np.divide(part, gain, out=result, where=gain > 0)
    return result


def _finite(values: Float[np.ndarray, " draws"]) -> Float[np.ndarray, " defined"]:
    result: Array = values[np.isfinite(values)]
    return result


def worst_risk_retention(risks: Mapping[str, Kept], *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the smallest retention over risks, with the interval of that minimum: the number to maximise.

    Risks whose specialist has no clear gain are left out, and `reason` names them; None when no risk is left.
    Seeds are resampled together over risks, prompts apart.

    Raises:
        ValueError: The arrays of a risk do not pair.
    """
    each = {name: retention(kept, draws=draws, seed=seed) for name, kept in risks.items()}
    left_out = sorted(name for name, estimate in each.items() if estimate.reason is not None)
    reason = f"left out, without a clear gain of the specialist: {', '.join(left_out)}" if left_out else None
    clear = sorted(set(each) - set(left_out))
    values = [value for name in clear if (value := each[name].value) is not None]
    if not values:
        return Estimate(None, reason=reason or "there is no risk")
    resampled = [
        _retention_draws(risks[name], draws=draws, seed=seed, stream=place) for place, name in enumerate(clear)
    ]
    low, high = interval(_finite(np.min(resampled, axis=0)))
    return Estimate(min(values), low, high, min(each[name].n for name in clear), reason)


def removed_share(
    patched: ArrayLike, base: ArrayLike, *, groups: Groups = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return (s - b) / (1 - b), the share of the base's unsafety that a patch removed, with an interval.

    Raises:
        ValueError: The arrays do not pair.
    """
    after, before = tables(patched, base)
    perfect: Array = np.ones_like(before)
    kept = retention(Kept(after, before, perfect, groups), draws=draws, seed=seed)
    if kept.reason is None:
        return kept
    return Estimate(None, n=kept.n, reason="the base shows too little of the risk to remove any")
