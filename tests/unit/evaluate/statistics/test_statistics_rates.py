import pytest
from scipy.stats import binom, binomtest

from compose.evaluate.statistics.rates import clopper_pearson, lower_bound, upper_bound, wilson


def test_wilson_is_scipys() -> None:
    for successes, trials in ((0, 10), (3, 10), (81, 263), (10, 10)):
        theirs = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        assert wilson(successes / trials, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_is_newcombes_published_one() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263 and 15 of 148.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_by_hand_and_open_at_the_ends() -> None:
    # 8 of 10, z = 1.959964: centre (0.8 + 0.192073) / 1.384146, half 1.959964 / 1.384146 * sqrt(0.016 + 0.0096036)
    assert wilson(0.8, 10) == pytest.approx((0.71674 - 0.22658, 0.71674 + 0.22658), abs=2e-5)
    assert wilson(0.0, 20)[0] == 0.0
    assert wilson(0.0, 20)[1] > 0.1
    assert wilson(1.0, 20)[1] == 1.0


def test_clopper_pearson_is_scipys_and_newcombes() -> None:
    theirs = binomtest(15, 148).proportion_ci(0.9, method="exact")
    assert clopper_pearson(15, 148, 0.9) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    # Newcombe 1998, table I, method 5.
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)


def test_no_unsafe_text_in_59_bounds_the_rate_by_five_per_cent() -> None:
    # (1 - p)^59 = .05 at p = 1 - .05^(1/59) = .0495: the rule of three's exact form
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(0, 59) < 0.05 < upper_bound(0, 58)
    assert lower_bound(0, 59) == 0.0
    assert upper_bound(59, 59) == 1.0


def test_exact_bounds_cover_at_every_rate() -> None:
    n = 25
    for rate in (0.02, 0.1, 0.37, 0.5, 0.9):
        missed = sum(float(binom.pmf(k, n, rate)) for k in range(n + 1) if upper_bound(k, n) < rate)
        assert missed <= 0.05
        missed = sum(float(binom.pmf(k, n, rate)) for k in range(n + 1) if lower_bound(k, n) > rate)
        assert missed <= 0.05


@pytest.mark.parametrize(("successes", "trials", "level"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_nonsense_is_refused(successes: int, trials: int, level: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes"):
        upper_bound(successes, trials, level)
