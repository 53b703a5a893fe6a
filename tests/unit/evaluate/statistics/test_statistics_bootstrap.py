from typing import Any

import numpy as np
import pytest

from compose.evaluate.statistics.bootstrap import interval, paired_difference, resample, table


def test_every_draw_weighs_its_units_to_one() -> None:
    weights = resample(3, 7, draws=50)
    assert weights.seeds.shape == (50, 3)
    assert weights.prompts.shape == (50, 7)
    assert np.allclose(weights.seeds.sum(axis=1), 1)
    assert np.allclose(weights.prompts.sum(axis=1), 1)


def test_a_draws_mean_is_over_seeds_and_prompts_crossed() -> None:
    weights = resample(2, 3, draws=5)
    values = np.arange(6.0).reshape(2, 3)
    by_hand = [
        sum(weights.seeds[d, s] * weights.prompts[d, p] * values[s, p] for s in range(2) for p in range(3))
        for d in range(5)
    ]
    assert weights.means(values) == pytest.approx(by_hand)


def test_a_single_seed_is_not_resampled_and_streams_share_their_seeds_only() -> None:
    assert (resample(1, 4, draws=9).seeds == 1).all()
    first, second = resample(3, 20, draws=9, stream=0), resample(3, 20, draws=9, stream=1)
    assert (first.seeds == second.seeds).all()
    assert (first.prompts != second.prompts).any()


def test_the_same_seed_gives_the_same_draws() -> None:
    assert (resample(2, 5, seed=4).prompts == resample(2, 5, seed=4).prompts).all()
    assert (resample(2, 5, seed=4).prompts != resample(2, 5, seed=5).prompts).any()


def test_a_paired_difference_cancels_what_both_share() -> None:
    before = np.array([0.1, 0.5, 0.7, 0.2])
    found = paired_difference(before + 0.2, before)
    assert found.value == pytest.approx(0.2)
    assert [found.low, found.high] == pytest.approx([0.2, 0.2])
    assert found.n == 4


def test_an_interval_covers_the_disagreement_of_seeds() -> None:
    found = paired_difference([[0.0] * 6, [1.0] * 6], np.zeros((2, 6)))
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_an_interval_over_prompts_is_near_the_textbooks() -> None:
    # 100 prompts, half of them 1: standard error sqrt(.25 / 100) = .05, so about .5 +- .098
    found = paired_difference([0.0, 1.0] * 50, np.zeros(100))
    assert found.low == pytest.approx(0.402, abs=0.02)
    assert found.high == pytest.approx(0.598, abs=0.02)


def test_interval_is_by_percentiles() -> None:
    assert list(interval(np.linspace(0, 1, 1001))) == pytest.approx([0.025, 0.975])


@pytest.mark.parametrize("values", [[], [[]], [[[0.5]]], [float("nan")]])
def test_no_values_and_nan_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="finite values"):
        table(values)


def test_prompts_of_a_group_are_drawn_together() -> None:
    weights = resample(1, 5, groups=["a", "b", "a", "b", "b"], draws=50)
    assert (weights.prompts[:, 0] == weights.prompts[:, 2]).all()
    assert (weights.prompts[:, 1] == weights.prompts[:, 3]).all()
    assert np.allclose(weights.prompts.sum(axis=1), 1)
    # One group drawn twice: its prompts share everything, 1/2 each for a and 1/3 each for b.
    assert set(np.round(weights.prompts[:, 0], 6)) == {0.0, 0.2, 0.5}


def test_groups_of_one_are_prompts() -> None:
    assert np.allclose(resample(2, 4, groups=[1, 2, 3, 4]).prompts, resample(2, 4).prompts)


def test_prompts_that_agree_within_their_group_widen_the_interval() -> None:
    values = np.repeat([0.0, 1.0] * 5, 10)  # ten groups of ten equal prompts: ten independent values, not a hundred
    apart = paired_difference(values, np.zeros(100))
    together = paired_difference(values, np.zeros(100), groups=np.repeat(np.arange(10), 10).tolist())
    assert None not in (apart.low, apart.high, together.low, together.high)
    assert together.high - together.low > 2.5 * (apart.high - apart.low)  # type: ignore[operator]


def test_a_group_is_needed_for_each_prompt() -> None:
    with pytest.raises(ValueError, match="one group for each of 3"):
        resample(1, 3, groups=["a"])
