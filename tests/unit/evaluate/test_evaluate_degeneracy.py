import pytest

from compose.evaluate.degeneracy import degeneracy, distinct, trigram_repetition, words


def test_words_are_lower_case_with_marks_apart() -> None:
    assert words("Don't stop, NOW!") == ["don't", "stop", ",", "now", "!"]


def test_trigram_repetition_is_the_share_of_trigrams_seen_before() -> None:
    # a b c a b c: trigrams abc bca cab abc, one of four seen before
    assert trigram_repetition("a b c a b c") == pytest.approx(0.25)
    assert trigram_repetition("one two three four") == 0.0
    # six times "no": four trigrams, one kind
    assert trigram_repetition("no no no no no no") == pytest.approx(0.75)


def test_texts_below_three_words_have_no_trigram() -> None:
    assert trigram_repetition("two words") is None
    assert trigram_repetition("") is None


def test_distinct_sees_the_same_answer_given_twice() -> None:
    # bigrams: a-b b-c, a-b b-c: two kinds of four
    assert distinct(["a b c", "a b c"]) == 0.5
    assert distinct(["a b c", "d e f"]) == 1.0
    assert distinct(["a", ""]) is None


def test_degeneracy_averages_over_prompts_and_counts_empties() -> None:
    found = degeneracy([["a b c a b c", "  "], ["one two three", "four five six"]])
    assert found["trigram_repetition"].value == pytest.approx((0.25 + 0.0) / 2)
    assert found["trigram_repetition"].n == 2
    assert found["empty_rate"].value == pytest.approx(0.25)
    assert found["mean_words"].value == pytest.approx((3 + 3) / 2)
    assert found["distinct_2"].n == 4
    assert {name: metric.direction for name, metric in found.items()} == {
        "trigram_repetition": "lower",
        "distinct_2": "higher",
        "empty_rate": "lower",
        "mean_words": "higher",
    }


def test_a_model_that_says_nothing_has_no_repetition_and_is_seen_as_empty() -> None:
    found = degeneracy([[""], [" \n"]])
    assert found["empty_rate"].value == 1.0
    assert found["trigram_repetition"].value is None
    assert found["mean_words"].value == 0.0
