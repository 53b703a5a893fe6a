import pytest
from scipy.stats import binomtest

from compose.evaluate.statistics.mcnemar import Discordance


def test_counts_only_prompts_on_which_the_systems_disagree() -> None:
    found = Discordance.of([True, True, False, False, True], [True, False, True, False, False])
    assert found == Discordance(only_first=2, only_second=1, n=5)
    assert found.difference == pytest.approx(-0.2)


def test_exact_p_is_the_sign_tests() -> None:
    for first, second in ((1, 7), (12, 4), (0, 5), (3, 3)):
        assert Discordance(first, second, 40).exact_p() == pytest.approx(binomtest(first, first + second).pvalue)


def test_the_published_example_of_airway_hyper_responsiveness() -> None:
    # Fagerland, Lydersen and Laake 2013, tables 1 and 5: 1 and 7 of 21 children; exact .0703, mid-p .0391.
    found = Discordance(1, 7, 21)
    assert found.exact_p() == pytest.approx(0.0703, abs=5e-5)
    assert found.mid_p() == pytest.approx(0.0391, abs=5e-5)


def test_systems_that_never_disagree_do_not_differ() -> None:
    assert Discordance(0, 0, 9).exact_p() == 1.0
    assert Discordance(0, 0, 9).mid_p() == 1.0


def test_the_interval_adds_half_to_every_cell() -> None:
    # n + 2 = 1602; (86.5 - 150.5) / 1602 = -.03995; s = 237 / 1602 = .14794
    low, high = Discordance(150, 86, 1600).interval()
    half = 1.959963985 * ((0.147940 - 0.039950**2) / 1602) ** 0.5
    assert (low, high) == pytest.approx((-0.039950 - half, -0.039950 + half), abs=1e-5)
    # Agresti, Categorical Data Analysis (2002), section 10.1: (.02, .06) for the approval of a prime minister.
    assert (round(-high, 2), round(-low, 2)) == (0.02, 0.06)


def test_unequal_lengths_and_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Discordance.of([True], [True, False])
    with pytest.raises(ValueError, match="add up"):
        Discordance(3, 3, 5)
