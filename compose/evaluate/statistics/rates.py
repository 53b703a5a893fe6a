"""Intervals and one-sided bounds of a rate of independent units.

Notation: `successes` of `trials` units, at confidence `level`. A unit is a prompt: samples of one prompt are not
independent of each other. All bounds lie in [0, 1].
"""

from __future__ import annotations

from scipy.special import betaincinv, ndtri  # scipy.stats takes four times as long to import

LEVEL = 0.95


def wilson(share: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of a share of `n` units (Wilson 1927, JASA 22).

    (share + z^2 / 2n -+ z sqrt(share (1 - share) / n + z^2 / 4n^2)) / (1 + z^2 / n), z the normal quantile of
    (1 + level) / 2. Its coverage is near `level` on average over rates, below it at some. For a mean of numbers in
    [0, 1] that are not all 0 or 1 it is too wide, never too narrow: their variance is at most share * (1 - share).

    Raises:
        ValueError: `n` is below 1, the share outside [0, 1], or the level outside (0, 1).
    """
    _refuse_nonsense(share * n, n, level)
    z = float(ndtri((1 + level) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float((share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5)
    return max(0.0, centre - half), min(1.0, centre + half)


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper and Pearson 1934, Biometrika 26): coverage is never below `level`.

    The ends are quantiles of beta distributions: of Beta(s, n - s + 1) at (1 - level) / 2, and of Beta(s + 1, n - s)
    at (1 + level) / 2.

    Raises:
        ValueError: See `wilson`.
    """
    tail = (1 - level) / 2
    return lower_bound(successes, trials, 1 - tail), upper_bound(successes, trials, 1 - tail)


def upper_bound(successes: int, trials: int, level: float = LEVEL) -> float:
    """Return the exact one-sided upper bound: at any larger rate so few successes have a chance below 1 - level.

    Raises:
        ValueError: See `wilson`.
    """
    _refuse_nonsense(successes, trials, level)
    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, level))


def lower_bound(successes: int, trials: int, level: float = LEVEL) -> float:
    """Return the exact one-sided lower bound: at any smaller rate so many successes have a chance below 1 - level.

    Raises:
        ValueError: See `wilson`.
    """
    _refuse_nonsense(successes, trials, level)
    return 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, 1 - level))


def _refuse_nonsense(successes: float, trials: int, level: float) -> None:
    if trials < 1 or not 0 <= successes <= trials + 1e-9 or not 0 < level < 1:
        raise ValueError(
            f"expected 0 <= successes <= trials, trials >= 1 and a level within 0 and 1; "
            f"got {successes:g} of {trials} at {level}"
        )
