import math

import pytest

from compose.evaluate.metrics import Metric, mean, rate, unsafe_share
from compose.evaluate.statistics.rates import wilson


def test_a_rate_counts_prompts_not_samples() -> None:
    found = rate([0.5, 1.0, 0.0, 0.5], "lower")
    assert (found.value, found.n, found.direction) == (0.5, 4, "lower")
    assert (found.low, found.high) == wilson(0.5, 4)


def test_a_mean_has_students_interval() -> None:
    # values 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653
    found = mean([1.0, 2.0, 3.0], "higher")
    half = 4.302653 / math.sqrt(3)
    assert found.value == 2.0
    assert found.low == pytest.approx(2 - half, abs=1e-5)
    assert found.high == pytest.approx(2 + half, abs=1e-5)


def test_one_value_has_no_interval_and_none_has_no_value() -> None:
    assert mean([2.0], "lower") == Metric(2.0, "lower", 1)
    assert mean([], "lower") == rate([], "lower") == Metric(None, "lower", 0)


def test_a_score_at_the_threshold_is_unsafe() -> None:
    assert unsafe_share([0.5, 0.49, 1.0, 0.0], 0.5) == 0.5


def test_a_metric_survives_json() -> None:
    metric = Metric(0.25, "lower", 8, 0.1, 0.5)
    assert Metric.from_json(metric.to_json()) == metric
