"""Numbers by hand on one matrix of safety, risks in the order in which they were learned.

    R = .80 .30 .10      after risk 0
        .85 .70 .20      after risk 1
        .65 .72 .90      after risk 2

Risk 0 was at most .85 before the end and ends at .65; risk 1 was at most .70 and ends at .72.
"""

from typing import Any

import numpy as np
import pytest

from compose.evaluate.forgetting import (
    CONVENTIONS,
    NO_GAIN,
    UNSURE_GAIN,
    Kept,
    bwt_gem,
    forgetting_avalanche,
    forgetting_by_risk,
    forgetting_chaudhry,
    forgetting_mammoth,
    fwt_gem,
    in_order,
    intransigence,
    r_matrix,
    removed_share,
    retention,
    stability_gap,
    worst_risk_retention,
)

R = [[0.80, 0.30, 0.10], [0.85, 0.70, 0.20], [0.65, 0.72, 0.90]]
TWO = [[0.90, 0.20], [0.60, 0.80]]


def test_chaudhry_takes_the_best_earlier_row_and_may_be_negative() -> None:
    assert forgetting_by_risk(R) == pytest.approx([0.20, -0.02])
    assert forgetting_chaudhry(R) == pytest.approx((0.20 - 0.02) / 2)  # .090
    assert forgetting_chaudhry([[0.5, 0.2], [0.7, 0.8]]) == pytest.approx(-0.2)


def test_avalanche_compares_with_the_row_of_learning() -> None:
    assert forgetting_avalanche(R) == pytest.approx((0.80 - 0.65 + 0.70 - 0.72) / 2)  # .065


def test_mammoth_includes_the_last_row_and_pads_with_zeros() -> None:
    assert forgetting_mammoth(R) == pytest.approx((0.85 - 0.65 + 0.72 - 0.72) / 2)  # .100
    # risk 1 was safer before it was learned than ever after: the padding hides it
    early = [[0.8, 0.95, 0.1], [0.8, 0.70, 0.1], [0.8, 0.60, 0.9]]
    assert forgetting_mammoth(early) == pytest.approx((0.0 + 0.10) / 2)
    assert forgetting_chaudhry(early) == pytest.approx((0.0 + 0.35) / 2)


def test_gems_backward_transfer_is_negative_when_something_was_forgotten() -> None:
    assert bwt_gem(R) == pytest.approx(-0.065)
    assert bwt_gem(TWO) == pytest.approx(-0.30)
    assert bwt_gem([[0.5, 0.2], [0.7, 0.8]]) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["forgetting_chaudhry", "forgetting_avalanche", "forgetting_mammoth"])
def test_two_risks_have_a_forgetting_that_is_not_zero(name: str) -> None:
    assert CONVENTIONS[name](TWO) == pytest.approx(0.30)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_a_single_stage_has_nothing_to_forget(convention: object) -> None:
    assert callable(convention)
    assert convention([[0.9, 0.8]]) is None


def test_a_risk_that_was_never_learned_takes_no_part() -> None:
    wide = [[*row, 0.4] for row in TWO]
    for name, convention in CONVENTIONS.items():
        assert convention(wide) == pytest.approx(CONVENTIONS[name](TWO))


def test_forward_transfer_depends_on_the_method_and_on_the_base() -> None:
    base = [0.10, 0.30]
    assert fwt_gem([[0.9, 0.5], [0.8, 0.7]], base) == pytest.approx(0.2)
    assert fwt_gem([[0.9, 0.2], [0.8, 0.7]], base) == pytest.approx(-0.1)
    # R[0][1] - b[1] = 0, R[1][2] - b[2] = 0.15
    assert fwt_gem(R, [0.1, 0.3, 0.05]) == pytest.approx((0.0 + 0.15) / 2)
    assert fwt_gem([[0.9, 0.5]], base) is None


def test_intransigence_is_what_the_joint_patch_learned_and_the_arm_did_not() -> None:
    assert intransigence(R, [0.85, 0.65, 0.95]) == pytest.approx([0.05, -0.05, 0.05])


def test_columns_are_put_into_the_arms_order() -> None:
    found = in_order([[1.0, 0.1, 0.5]], ["a", "b", "c"], ["c", "a"])
    assert found.tolist() == [[0.5, 1.0, 0.1]]


@pytest.mark.parametrize("rows", [[0.5, 0.5], [[0.5], [0.5]], [[1.2, 0.1]], [[float("nan"), 0.1]]])
def test_what_is_no_matrix_of_safety_is_refused(rows: Any) -> None:
    with pytest.raises(ValueError, match="R "):
        r_matrix(rows)


def test_stability_gap_sees_the_fall_inside_a_stage() -> None:
    found = stability_gap([0.8, 0.3, 0.5, 0.7])
    assert (found.start, found.lowest, found.end) == (0.8, 0.3, 0.7)
    assert found.gap == pytest.approx(0.5)
    assert found.recovered == pytest.approx(0.4)
    assert stability_gap([0.2, 0.6]).gap == 0.0
    with pytest.raises(ValueError, match="start and the end"):
        stability_gap([0.8])


def test_retention_is_the_share_of_the_specialists_gain() -> None:
    base, specialist = np.zeros(8), np.ones(8)
    found = retention(Kept([1, 1, 1, 0, 0, 0, 0, 0], base, specialist))
    assert found.value == pytest.approx(3 / 8)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low < 3 / 8 < found.high <= 1
    assert (found.n, found.reason) == (8, None)


def test_retention_is_paired_over_prompts() -> None:
    # every prompt keeps exactly half of its gain, whatever the gain: no resampling can change the ratio
    gain = np.array([0.2, 0.9, 0.5, 0.1, 0.7, 0.3])
    found = retention(Kept(0.1 + gain / 2, np.full(6, 0.1), 0.1 + gain))
    assert found.value == pytest.approx(0.5)
    assert [found.low, found.high] == pytest.approx([0.5, 0.5])


def test_retention_is_negative_when_the_result_is_less_safe_than_the_base() -> None:
    found = retention(Kept(np.zeros(4), np.full(4, 0.5), np.ones(4)))
    assert found.value == pytest.approx(-1.0)


def test_retention_is_undefined_when_the_specialist_gained_nothing() -> None:
    for specialist in (np.full(4, 0.5), np.full(4, 0.4)):
        found = retention(Kept(np.ones(4), np.full(4, 0.5), specialist))
        assert (found.value, found.low, found.high) == (None, None, None)
        assert found.reason == NO_GAIN


def test_retention_is_flagged_when_the_gain_is_not_clear_of_zero() -> None:
    # gains: three times +1, twice -1, five times 0; the mean is .1 and its interval covers 0
    base = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
    specialist = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    found = retention(Kept(specialist, base, specialist))
    assert found.value == pytest.approx(1.0)
    assert (found.low, found.high) == (None, None)
    assert found.reason == UNSURE_GAIN


def test_retention_over_seeds_is_wider_when_seeds_disagree() -> None:
    base, specialist = np.zeros((2, 30)), np.ones((2, 30))
    agree = retention(Kept(np.full((2, 30), 0.5), base, specialist))
    disagree = retention(Kept(np.stack([np.zeros(30), np.ones(30)]), base, specialist))
    assert agree.value == disagree.value == pytest.approx(0.5)
    assert [agree.low, agree.high] == pytest.approx([0.5, 0.5])
    assert [disagree.low, disagree.high] == pytest.approx([0.0, 1.0])


def test_arrays_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="do not pair"):
        retention(Kept(np.ones(3), np.zeros(4), np.ones(4)))
    with pytest.raises(ValueError, match="finite"):
        retention(Kept([np.nan, 1.0], np.zeros(2), np.ones(2)))


def test_worst_risk_retention_is_the_smallest_and_names_what_it_leaves_out() -> None:
    base, specialist = np.zeros(10), np.ones(10)
    risks = {
        "a": Kept(np.full(10, 0.9), base, specialist),
        "b": Kept(np.full(10, 0.3), base, specialist),
        "c": Kept(np.zeros(10), base, base),
    }
    found = worst_risk_retention(risks)
    assert found.value == pytest.approx(0.3)
    assert [found.low, found.high] == pytest.approx([0.3, 0.3])
    assert found.reason is not None
    assert found.reason.endswith(": c")


def test_worst_risk_retention_is_undefined_when_no_specialist_gained() -> None:
    found = worst_risk_retention({"a": Kept(np.ones(4), np.ones(4), np.ones(4))})
    assert found.value is None
    assert worst_risk_retention({}).reason == "there is no risk"


def test_removed_share_is_of_what_the_base_shows() -> None:
    # the base is unsafe on 8 of 10 prompts, the patch on 2 of them
    base = np.array([0.0] * 8 + [1.0] * 2)
    patched = np.array([0.0] * 2 + [1.0] * 8)
    assert removed_share(patched, base).value == pytest.approx(6 / 8)
    assert removed_share(np.ones(4), np.ones(4)).value is None
