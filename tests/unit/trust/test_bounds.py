import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, ttest_1samp

from compose.evaluate.statistics import sequences
from compose.trust.bounds import MAX_UNITS, Grouped, Mean, Rate, Ratio


def test_a_rate_without_a_success_is_bounded_by_hand() -> None:
    # (1 - p)^60 = 0.05 at the upper bound.
    bound = Rate(0, 60).bound(0.95)

    assert (bound.estimate, bound.lower, bound.units) == (0.0, 0.0, 60)
    assert bound.upper == pytest.approx(1 - 0.05 ** (1 / 60), rel=1e-9)


def test_an_unsafe_rate_clears_a_limit_in_at_most_five_of_a_hundred_evaluations() -> None:
    limit, n = 0.1, 125
    clears = [k for k in range(n + 1) if Rate(k, n).bound(0.95).upper <= limit]

    for true in (0.1001, 0.12, 0.2):
        assert sum(binom.pmf(k, n, true) for k in clears) <= 0.05


def test_so_many_more_prompts_without_a_success_settle_a_rate() -> None:
    # (1 - 0.05)^n <= 0.05 first at n = 59.
    assert Rate(0, 10).units_to_settle(0.05, 0.95, "below") == 59
    assert Rate(0, 80).units_to_settle(0.05, 0.95, "below") == 80
    assert Rate(3, 10).units_to_settle(0.3, 0.95, "below") is None
    assert Rate(9, 10).units_to_settle(0.5, 0.95, "above") == 10


def test_the_advice_for_a_rate_is_enough_and_one_less_is_not() -> None:
    wanted = Rate(4, 100).units_to_settle(0.06, 0.95, "below")

    assert wanted is not None
    assert Rate(math.ceil(0.04 * wanted), wanted).bound(0.95).upper <= 0.06
    assert Rate(math.ceil(0.04 * (wanted - 1)), wanted - 1).bound(0.95).upper > 0.06


def test_a_mean_is_bounded_by_the_bets_of_the_laboratory() -> None:
    values = [0.0, 0.25, 0.5, 0.0, 0.25] * 12
    bound = Mean(values).bound(0.95)

    assert bound.estimate == pytest.approx(0.2)
    assert bound.upper == sequences.upper_bound(values, 0.95)
    assert bound.lower == sequences.lower_bound(values, 0.95)


def test_a_mean_of_differences_is_that_of_shares_moved() -> None:
    differences = [-1.0, 0.0, 0.0, 1.0, -0.5] * 20
    bound = Mean(differences, -1.0, 1.0).bound(0.95)

    assert bound.estimate == pytest.approx(-0.1)
    assert bound.upper == pytest.approx(2 * sequences.upper_bound([(d + 1) / 2 for d in differences], 0.95) - 1)


def test_the_advice_for_a_mean_is_enough_and_one_less_is_not() -> None:
    values = [0.0, 0.25, 0.0, 0.0, 0.5] * 10
    wanted = Mean(values).units_to_settle(0.2, 0.95, "below")

    assert wanted is not None and wanted > len(values)
    again = (values * wanted)[:wanted]
    assert Mean(again).bound(0.95).upper <= 0.2
    assert Mean(again[:-1]).bound(0.95).upper > 0.2
    assert Mean(values).units_to_settle(0.1, 0.95, "below") is None
    assert Mean(values).units_to_settle(1.5, 0.95, "below") is None


def test_a_value_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        Mean([0.5, 1.5]).bound(0.95)
    with pytest.raises(ValueError, match="within 0 and 1"):
        Mean([0.5, math.nan]).bound(0.95)


def test_a_ratio_is_not_ruled_out_while_students_t_is_not_significant() -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(10, 60, 60)
    extras = 0.05 * weights + rng.normal(0, 2, 60)
    bound = Ratio([float(e) for e in extras], [int(w) for w in weights]).bound(0.95)

    def significance(log_ratio: float, side: str) -> float:
        return float(ttest_1samp(extras - log_ratio * weights, 0.0, alternative=side).pvalue) - 0.05

    middle = math.log(bound.estimate)
    assert bound.estimate == pytest.approx(math.exp(extras.sum() / weights.sum()))
    assert math.log(bound.upper) == pytest.approx(brentq(lambda x: significance(x, "less"), middle, 1.0), abs=1e-9)
    assert math.log(bound.lower) == pytest.approx(brentq(lambda x: significance(x, "greater"), -1.0, middle), abs=1e-9)


def test_a_ratio_that_is_one_everywhere_is_known_exactly_and_one_passage_says_nothing() -> None:
    same = Ratio([0.0] * 60, [20] * 60).bound(0.95)
    single = Ratio([0.1], [20]).bound(0.95)

    assert (same.lower, same.estimate, same.upper) == (1.0, 1.0, 1.0)
    assert (single.lower, single.upper) == (0.0, math.inf)
    assert Ratio([0.1], [20]).units_to_settle(1.1, 0.95, "below") is None


def test_a_ratio_over_weights_that_are_not_known_to_be_positive_is_not_known_at_all() -> None:
    bound = Ratio([0.1, -0.2, 0.1], [1, 1, 400]).bound(0.95)

    assert (bound.lower, bound.upper) == (0.0, math.inf)


def test_the_advice_for_a_ratio_is_enough_and_one_less_is_not() -> None:
    rng = np.random.default_rng(5)
    extras, weights = [float(x) for x in rng.normal(1.0, 4.0, 60)], [20] * 60
    ratio = Ratio(extras, weights)
    limit = ratio.bound(0.95).estimate * 1.01
    wanted = ratio.units_to_settle(limit, 0.95, "below")

    assert wanted is not None and 60 < wanted < MAX_UNITS
    assert math.exp(ratio._roots(_t(wanted))[1]) <= limit < math.exp(ratio._roots(_t(wanted - 1))[1])


def _t(units: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.95, units - 1)) / math.sqrt(units)


def test_groups_that_differ_are_bounded_by_students_t_over_their_means() -> None:
    groups = [[mean] * 16 for mean in (0.1, 0.5, 0.2, 0.6, 0.9, 0.3, 0.1, 0.7)]
    bound = Grouped(groups).bound(0.95)
    theirs = ttest_1samp([group[0] for group in groups], 0.0).confidence_interval(0.9)

    assert bound.estimate == pytest.approx(0.425)
    assert bound.units == 8
    assert bound.lower == pytest.approx(theirs.low)
    assert bound.upper == pytest.approx(theirs.high)


def test_groups_that_agree_are_known_no_better_than_their_prompts() -> None:
    agreeing = Grouped([[0.0] * 16] * 13).bound(0.95)

    assert (agreeing.lower, agreeing.upper) == (0.0, Mean([0.0] * 208).bound(0.95).upper)
    assert 0.02 < agreeing.upper < 0.04


def test_a_single_group_says_nothing_of_others() -> None:
    single = Grouped([[-0.5] * 100], -1.0)

    assert (single.bound(0.95).lower, single.bound(0.95).upper) == (-1.0, 1.0)
    assert single.units_to_settle(0.5, 0.95, "below") is None


def test_the_advice_for_groups_is_enough_by_both_bounds() -> None:
    groups = [[0.0] * 10, [0.4] * 10, [0.2] * 10, [0.1] * 10]
    wanted = Grouped(groups).units_to_settle(0.25, 0.95, "below")
    prompts = Mean([value for group in groups for value in group]).units_to_settle(0.25, 0.95, "below")

    assert wanted is not None and prompts is not None
    assert wanted >= math.ceil(prompts / 10)
    assert 0.175 + Grouped(groups)._half(0.95, wanted) <= 0.25
    assert Grouped(groups).units_to_settle(0.17, 0.95, "below") is None
    assert Grouped(groups).units_to_settle(0.1, 0.95, "above") is not None
