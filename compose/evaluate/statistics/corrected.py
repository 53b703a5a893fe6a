"""Rates corrected for the errors of a judge, with intervals that know how well the judge is known.

Notation: a judge calls a share `apparent` of n texts unsafe. On texts whose truth is known it finds a share Se of the
unsafe ones (sensitivity, on n_Se texts) and clears a share Sp of the safe ones (specificity, on n_Sp texts). The true
share p obeys apparent = p Se + (1 - p)(1 - Sp). The correction is as good as the judge's error is the same here as
where it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from compose.evaluate.statistics.rates import LEVEL


@dataclass(frozen=True)
class JudgeErrors:
    """How often a judge was right on texts whose truth is known.

    Attributes:
        found: Unsafe texts that it called unsafe.
        unsafe: Unsafe texts in all.
        cleared: Safe texts that it called safe.
        safe: Safe texts in all.
    """

    found: int
    unsafe: int
    cleared: int
    safe: int

    def __post_init__(self) -> None:
        if not (0 <= self.found <= self.unsafe and 0 <= self.cleared <= self.safe and self.unsafe and self.safe):
            raise ValueError(f"expected 0 <= found <= unsafe and 0 <= cleared <= safe, both at least 1; got {self}")
        if self.sensitivity + self.specificity <= 1:
            raise ValueError(
                f"a judge with sensitivity {self.sensitivity:.3f} and specificity {self.specificity:.3f} is no better "
                "than chance: no rate can be recovered from its verdicts"
            )

    @property
    def sensitivity(self) -> float:
        """The share of unsafe texts that it found."""
        return self.found / self.unsafe

    @property
    def specificity(self) -> float:
        """The share of safe texts that it cleared."""
        return self.cleared / self.safe


@dataclass(frozen=True)
class Corrected:
    """A corrected rate with its interval, all within 0 and 1."""

    value: float
    low: float
    high: float


def corrected_rate(apparent: float, n: int, errors: JudgeErrors, level: float = LEVEL) -> Corrected:
    """Return the true rate behind an apparent one (Rogan and Gladen 1978, American Journal of Epidemiology 107).

    p = (apparent + Sp - 1) / (Se + Sp - 1), cut to [0, 1]. The interval is Lang and Reiczigel's (2014, Preventive
    Veterinary Medicine 113): with p' = (n apparent + z^2 / 2) / (n + z^2), Se' = (found + 1) / (n_Se + 2), Sp'
    likewise, and P = (p' + Sp' - 1) / (Se' + Sp' - 1), it is

        P + D -+ z sqrt(p'(1 - p') / (n + z^2) + P^2 Se'(1 - Se') / (n_Se + 2) + (1 - P)^2 Sp'(1 - Sp') / (n_Sp + 2))
                 / (Se' + Sp' - 1)
        D = 2 z^2 (P Se'(1 - Se') / (n_Se + 2) - (1 - P) Sp'(1 - Sp') / (n_Sp + 2)),

    cut to [0, 1]. `n` counts prompts: samples of one prompt are no further units.

    Raises:
        ValueError: `n` is below 1, or the apparent rate outside [0, 1].
    """
    if n < 1 or not 0 <= apparent <= 1:
        raise ValueError(f"expected n >= 1 and a rate within 0 and 1, got {apparent} of {n}")
    z = float(norm.ppf((1 + level) / 2))
    shrunk = (n * apparent + z * z / 2) / (n + z * z)
    se, sp = (errors.found + 1) / (errors.unsafe + 2), (errors.cleared + 1) / (errors.safe + 2)
    se_variance, sp_variance = se * (1 - se) / (errors.unsafe + 2), sp * (1 - sp) / (errors.safe + 2)
    gain = se + sp - 1
    if gain <= 0:  # better than chance as counted, and not once a doubt is added: nothing is known
        return Corrected(_share(_recovered(apparent, errors)), 0.0, 1.0)
    centre = (shrunk + sp - 1) / gain
    shift = 2 * z * z * (centre * se_variance - (1 - centre) * sp_variance)
    variance = shrunk * (1 - shrunk) / (n + z * z) + centre**2 * se_variance + (1 - centre) ** 2 * sp_variance
    half = z * math.sqrt(variance) / gain
    value = _share(_recovered(apparent, errors))
    # The interval is centred elsewhere than the estimate; where both are cut, it must still hold it.
    return Corrected(value, min(value, _share(centre + shift - half)), max(value, _share(centre + shift + half)))


def prediction_powered(
    judged: Sequence[float], judged_labelled: Sequence[float], labels: Sequence[float], level: float = LEVEL
) -> Corrected:
    """Return a rate from many judged texts and a few of the same kind that were also labelled.

    mean(judged) + mean(labels - judged_labelled), with the normal interval of the two variances added, cut to [0, 1]
    (Angelopoulos et al. 2023, "Prediction-powered inference", Science 382, Algorithm 1). It needs no sensitivity: the
    labelled texts say how far off the judge is *here*.

    Raises:
        ValueError: Fewer than two values, unequal lengths, or values outside [0, 1].
    """
    many, few = np.asarray(judged, dtype=np.float64), np.asarray(judged_labelled, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    inside = all(((one >= 0) & (one <= 1)).all() for one in (many, few, truth))
    if few.shape != truth.shape or min(many.size, truth.size) < 2 or not inside:
        raise ValueError("expected at least two judged and two labelled texts, with values within 0 and 1")
    value = float(many.mean() + (truth - few).mean())
    variance = float(many.var(ddof=1) / many.size + (truth - few).var(ddof=1) / truth.size)
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(variance)
    return Corrected(_share(value), _share(value - half), _share(value + half))


def _recovered(apparent: float, errors: JudgeErrors) -> float:
    return (apparent + errors.specificity - 1) / (errors.sensitivity + errors.specificity - 1)


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
