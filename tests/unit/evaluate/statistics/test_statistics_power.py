import pytest

from compose.evaluate.statistics.power import detectable_rate, paired_detectable, paired_prompts_for, prompts_for


def test_prompts_for_two_rates_by_hand() -> None:
    # p = .6 and .5: m = .55; 1.95996 sqrt(.495) + .84162 sqrt(.49) = 1.96810; (1.96810 / .1)^2 = 387.34
    assert prompts_for(0.6, 0.5) == 388
    assert prompts_for(0.5, 0.6) == 388


def test_paired_prompts_by_hand() -> None:
    # e = .1, d = .3: 1.95996 sqrt(.3) + .84162 sqrt(.29) = 1.52674; (15.2674)^2 = 233.09
    assert paired_prompts_for(0.1, 0.3) == 234
    assert paired_prompts_for(-0.1, 0.3) == 234


def test_what_is_detectable_with_n_needs_n() -> None:
    second = detectable_rate(388, 0.6)
    assert second is not None
    assert prompts_for(0.6, second) in (388, 389)
    difference = paired_detectable(234, 0.3)
    assert difference is not None
    assert paired_prompts_for(difference, 0.3) in (234, 235)


def test_pairing_sees_smaller_effects_than_two_sets_do() -> None:
    # Rates .3 and .2 whose systems disagree on 20% of the prompts.
    assert paired_prompts_for(0.1, 0.2) < prompts_for(0.3, 0.2)


def test_too_few_prompts_detect_nothing() -> None:
    assert detectable_rate(3, 0.2) is None
    assert paired_detectable(5, 0.2) is None


def test_impossible_effects_are_refused() -> None:
    with pytest.raises(ValueError, match="two different rates"):
        prompts_for(0.5, 0.5)
    with pytest.raises(ValueError, match="difference"):
        paired_prompts_for(0.4, 0.3)
