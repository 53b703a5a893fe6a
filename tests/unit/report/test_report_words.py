"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from compose.report import words
from compose.report.results import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "0.000"),
        (0.1234, "0.123"),
        (-0.25, "\N{MINUS SIGN}0.250"),
        (-0.0001, "0.000"),
        (9.5, "9.500"),
        (21.44, "21.4"),
        (1234.5, "1234"),
    ],
)  # fmt: skip
def test_numbers_have_three_telling_digits(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\N{EN DASH}"), (0.714, "71%"), (-0.38, "\N{MINUS SIGN}38%"), (-0.001, "0%"), (1.2, "120%")],
)
def test_shares_are_whole_per_cents(value: float | None, text: str) -> None:
    assert words.percent(value) == text


def test_intervals_with_negative_ends_are_spelled_out() -> None:
    assert words.between(0.1, 0.25) == "0.100\N{EN DASH}0.250"
    assert words.between(-0.1, 0.25) == "\N{MINUS SIGN}0.100 to 0.250"
    assert words.percent_between(Estimate(value=0.7, low=0.553, high=0.88)) == "55\N{EN DASH}88%"
    assert words.percent_between(Estimate(value=0.0, low=-0.1, high=0.1)) == "\N{MINUS SIGN}10 to 10%"


def test_there_is_no_interval_where_none_is_known_or_it_has_no_width() -> None:
    assert words.between(None, None) == ""
    assert words.between(0.5, 0.5) == ""
    assert words.percent_between(Estimate(value=1.0, low=1.0, high=1.0)) == ""


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("sequential", "sequential"),
        ("sequential-replay", "sequential + replay"),
        ("stacked-pad", "stacked + pad control"),
        ("mean", "average"),
        ("something-new", "something new"),
    ],
)
def test_strategies_are_called_what_people_call_them(label: str, text: str) -> None:
    assert words.strategy(label) == text


def test_metrics_keep_their_abbreviations() -> None:
    assert words.metric("gas") == "GAS"
    assert words.metric("toxic_rate_any") == "toxic rate any"


def test_durations_are_read_at_a_glance() -> None:
    assert [words.duration(s) for s in (3.2, 89, 150, 5400, 7_260)] == [
        "3 s", "89 s", "2 min", "1 h 30 min", "2 h 01 min"
    ]  # fmt: skip


def test_lists_read_as_in_a_sentence() -> None:
    assert [words.listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c"
    ]  # fmt: skip


def test_a_machine_is_told_processor_first_and_its_counts_say_what_they_count() -> None:
    facts: dict[str, str | int | float] = {"cores": 2, "cpu": "EPYC", "device": "cpu", "memory": "8 GiB", "threads": 1}
    assert words.machine(facts) == "EPYC, 2 cores, cpu, 8 GiB, 1 thread"


def test_digests_are_cut_where_a_version_is_shown() -> None:
    assert words.version(f"a list, sha256:{'0123456789abcdef' * 4}") == "a list, sha256:0123456789ab"


def test_an_interval_without_width_is_none_even_where_rounding_gave_it_some() -> None:
    assert words.between(0.0, 1e-17) == ""


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("refusal_phrases", "non refusal rate"),
        ("refusal_linear", "non refusal rate"),
        (None, "non refusal rate"),
        ("harm_linear", "harmful reply rate"),
        ("llama_guard", "harmful reply rate"),
    ],
)
def test_what_a_judge_of_harm_counts_is_not_called_a_lack_of_refusals(judge: str | None, said: str) -> None:
    assert words.metric("non_refusal_rate", judge) == said
