from itertools import pairwise

import numpy as np
import pytest

from compose.evaluate.statistics.betting import log_capital, stakes
from compose.evaluate.statistics.sequences import Settled, band, lower_bound, settle, upper_bound


def test_the_first_stakes_by_hand() -> None:
    # alpha .05: 2 log 20 = 5.99146. t = 1: v = .25, log 2 = .693147: sqrt(5.99146 / .173287) = 5.88007.
    # x_1 = 0: mean (.5 + 0) / 2 = .25, v = (.25 + .0625) / 2 = .15625; t = 2, log 3 = 1.098612:
    # sqrt(5.99146 / (.15625 * 2 * 1.098612)) = 4.17750
    assert stakes(np.array([0.0, 1.0]), 0.05) == pytest.approx([5.88007, 4.17750], abs=1e-4)


def test_capital_by_hand() -> None:
    # Both stakes are cut at .5 / (1 - .2) = .625: K- = (1 + .625 * .2)(1 - .625 * .8) = 1.125 * .5
    capital = np.exp(log_capital(np.array([0.0, 1.0]), 0.2, 0.05, "smaller"))
    assert capital == pytest.approx([1.125, 0.5625])


def test_the_future_does_not_change_a_stake() -> None:
    start = [0.0, 1.0, 0.4]
    longer = stakes(np.array([*start, 1.0, 1.0]), 0.05)
    assert longer[:3] == pytest.approx(stakes(np.array(start), 0.05))


def test_capital_is_a_martingale_at_the_true_mean() -> None:
    # Expected over all 2^4 sequences of a fair coin, it stays 1.
    runs = np.array([[n >> k & 1 for k in range(4)] for n in range(16)], dtype=float)
    for direction in ("smaller", "larger"):
        capital = np.exp(log_capital(runs, 0.5, 0.05, direction))
        assert capital.mean(axis=0) == pytest.approx(np.ones(4))


def test_bounds_tighten_around_the_rate() -> None:
    values = np.tile([1.0, 0.0, 0.0, 0.0], 100)
    wide, tight = values[:40], values
    assert lower_bound(wide) < lower_bound(tight) < 0.25 < upper_bound(tight) < upper_bound(wide)
    assert upper_bound(tight) - lower_bound(tight) < 0.16


def test_a_band_never_widens_and_starts_with_everything() -> None:
    intervals = band([1.0, 0.0] * 30)
    assert intervals[0] == (0.0, 1.0)
    for (low, high), (next_low, next_high) in pairwise(intervals):
        assert low <= next_low <= next_high <= high


def test_no_unsafe_prompt_settles_a_limit_of_ten_per_cent() -> None:
    # Each safe prompt multiplies the capital by at most 1 + .1 / (2 * .9): log 20 / log 1.0556 = 55.4 prompts.
    assert settle([0.0] * 80, 0.1) == Settled("below", 56)
    assert settle([0.0] * 55, 0.1) == Settled("open", 55)


def test_a_rate_above_its_limit_is_settled_too() -> None:
    assert settle([1.0] * 30, 0.2).verdict == "above"
    assert settle([0.0, 1.0] * 20, 0.5) == Settled("open", 40)


def test_peeking_after_every_prompt_is_wrong_at_most_as_often_as_stated() -> None:
    # 2,000 evaluations of 300 prompts whose rate is exactly the limit: any verdict is wrong on one side.
    rng = np.random.default_rng(0)
    runs = (rng.random((2000, 300)) < 0.2).astype(float)
    for direction in ("smaller", "larger"):
        ever = (log_capital(runs, 0.2, 0.05, direction) >= np.log(20)).any(axis=1)
        assert ever.mean() <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize("values", [[], [1.2], [float("nan")]])
def test_values_that_are_no_shares_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        upper_bound(values)
