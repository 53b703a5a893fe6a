import pytest

from compose.evaluate.risks import RISK_KINDS


def test_refusals_of_safe_requests_are_what_is_counted() -> None:
    # a judge of refusals scores 1 for a reply without one
    scores = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    found = RISK_KINDS["over_refusal"].metrics(scores, 0.5, None)
    assert found["refusal_rate"].value == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["refusal_rate_any"].value == pytest.approx(2 / 3)
    assert [RISK_KINDS["over_refusal"].danger(s, 0.5) for s in scores] == [0.5, 0.0, 1.0]
