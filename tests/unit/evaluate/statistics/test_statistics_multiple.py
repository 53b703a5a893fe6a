import pytest
from scipy.stats import false_discovery_control

from compose.evaluate.statistics.multiple import benjamini_hochberg, holm

P = [0.01, 0.04, 0.03, 0.005]


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, running maximum .02 .03 .06 .06
    assert holm(P) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochberg_is_scipys_and_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4/1 4/2 4/3 4/4: .02 .02 .04 .04
    assert benjamini_hochberg(P) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg(P) == pytest.approx(false_discovery_control(P).tolist())


def test_the_fifteen_p_values_of_benjamini_and_hochberg_reject_four() -> None:
    # Benjamini and Hochberg 1995, section 3.2: at q = .05 the four smallest, where Holm's bound rejects three.
    published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    published += [0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert sum(p <= 0.05 for p in benjamini_hochberg(published)) == 4
    assert sum(p <= 0.05 for p in holm(published)) == 3


def test_adjusted_values_stay_probabilities_and_nothing_stays_nothing() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == benjamini_hochberg([]) == []


@pytest.mark.parametrize("bad", [[1.2], [-0.1], [float("nan")]])
def test_what_is_no_probability_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values within"):
        holm(bad)
