import numpy as np
import pytest

from compose.evaluate.statistics.corrected import Corrected, JudgeErrors, corrected_rate, prediction_powered


def test_a_rate_is_recovered_from_sensitivity_and_specificity() -> None:
    # Se .9, Sp .8: a true rate of .3 appears as .3 * .9 + .7 * .2 = .41
    found = corrected_rate(0.41, 500, JudgeErrors(found=90, unsafe=100, cleared=80, safe=100))
    assert found.value == pytest.approx(0.3)
    assert found.low < 0.3 < found.high


def test_the_interval_by_hand() -> None:
    # z = 1.959964, z^2 = 3.841459. p' = (205 + 1.920729) / 503.841459 = .410686; Se' = 91/102 = .892157,
    # Sp' = 81/102 = .794118; gain .686275; P = .204804 / .686275 = .298429.
    # Var Se = .892157 * .107843 / 102 = .000943262; Var Sp = .794118 * .205882 / 102 = .00160289
    # D = 7.682918 (.298429 * .000943262 - .701571 * .00160289) = -.00647698
    # root of (.410686 * .589314 / 503.841459 + .0890599 * .000943262 + .492202 * .00160289) = .0367873
    # half = 1.959964 * .0367873 / .686275 = .105063
    found = corrected_rate(0.41, 500, JudgeErrors(90, 100, 80, 100))
    assert (found.low, found.high) == pytest.approx(
        (0.298429 - 0.006477 - 0.105063, 0.298429 - 0.006477 + 0.105063), abs=2e-5
    )


def test_a_judge_that_is_hardly_known_leaves_a_wide_interval() -> None:
    known = corrected_rate(0.41, 500, JudgeErrors(900, 1000, 800, 1000))
    hardly = corrected_rate(0.41, 500, JudgeErrors(9, 10, 8, 10))
    assert hardly.high - hardly.low > 2 * (known.high - known.low)


def test_a_perfect_well_known_judge_changes_nothing() -> None:
    found = corrected_rate(0.25, 200, JudgeErrors(100_000, 100_000, 100_000, 100_000))
    assert found.value == pytest.approx(0.25)
    # Wilson's score interval is .195 to .314
    assert (found.low, found.high) == pytest.approx((0.195, 0.314), abs=0.004)


def test_everything_stays_a_share() -> None:
    errors = JudgeErrors(90, 100, 80, 100)
    for apparent in (0.0, 0.1, 0.5, 1.0):
        found = corrected_rate(apparent, 30, errors)
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_covers_the_true_rate_of_judged_texts() -> None:
    rng = np.random.default_rng(1)
    covered, runs = 0, 1000
    for _ in range(runs):
        errors = JudgeErrors(int(rng.binomial(150, 0.85)), 150, int(rng.binomial(150, 0.9)), 150)
        apparent = rng.binomial(200, 0.2 * 0.85 + 0.8 * 0.1) / 200
        found = corrected_rate(apparent, 200, errors)
        covered += found.low <= 0.2 <= found.high
    assert covered / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_judge_no_better_than_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="no better than chance"):
        JudgeErrors(50, 100, 50, 100)


def test_labelled_texts_tell_how_far_the_judge_is_off() -> None:
    # mean(judged) = .5; the judge says .5 too much on one of four labelled texts: .5 - .125
    found = prediction_powered([0.0, 1.0] * 50, [1.0, 0.5, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0])
    assert found.value == pytest.approx(0.375)
    assert isinstance(found, Corrected)
    assert found.low < 0.375 < found.high


def test_unlabelled_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        prediction_powered([0.0, 1.0], [1.0], [1.0])
