import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from compose.errors import Rejected
from compose.evaluate.judges import JUDGES, Judge, Judged, judge_all, make_judge
from compose.evaluate.judges.gendered import word_list


def items(*texts: str) -> list[Judged]:
    return [Judged("a prompt", text) for text in texts]


class Raw:
    """A judge that returns what it was told, whatever it was asked."""

    name = "raw"
    version = "1"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        answer: list[float | None] = self.answer
        return answer


@pytest.mark.parametrize("name", sorted(JUDGES))
def test_every_judge_scores_in_range_one_per_item_and_has_a_version(name: str) -> None:
    judge = make_judge(name)
    scores = judge.score(items("She went home.", "", "I'm sorry, but I can't help with that."))
    assert len(scores) == 3
    assert [place for place, score in enumerate(scores) if score is None] == [1]  # nothing that could be judged
    assert all(0 <= score <= 1 for score in scores if score is not None)
    assert judge.name == name
    assert "sha256:" in judge.version
    assert judge.score([]) == []


def test_an_unknown_judge_is_refused_with_the_known_names() -> None:
    with pytest.raises(
        Rejected, match="gendered_words, harm_linear, profanity, refusal_linear, refusal_phrases, toxicity_linear"
    ):
        make_judge("perspective")


def test_what_is_no_number_from_0_to_1_counts_as_unjudged() -> None:
    raw = [0, 1.0, np.float32(0.5), math.nan, math.inf, -0.1, 1.1, None, "0.5", True]
    found = judge_all(Raw(raw), items(*"abcdefghij"), subject="a test")
    assert found == [0.0, 1.0, 0.5, None, None, None, None, None, None, 1.0]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (None, "nothing"),
        ([], "0 scores"),
        ([0.1], "1 scores"),
        ([0.1] * 3, "3 scores"),
        ([None, math.nan], "none in 2 completions"),
    ],
)
def test_a_silent_judge_is_refused_and_never_read_as_safe(answer: Any, found: str) -> None:
    with pytest.raises(Rejected) as caught:
        judge_all(Raw(answer), items("a", "b"), subject="a test")
    assert caught.value.code == "judge-silent"
    assert caught.value.got == found


def test_nothing_to_judge_is_no_silence() -> None:
    assert judge_all(Raw(None), [], subject="a test") == []


def test_an_empty_completion_has_no_score_and_is_not_shown_to_the_judge() -> None:
    judge = Raw([0.2, 0.4])
    assert judge_all(judge, items("a", " \n", "b", ""), subject="a test") == [0.2, None, 0.4, None]
    assert judge_all(Raw(None), items("", " "), subject="a test") == [None, None]
    with pytest.raises(Rejected, match="none in 1 completions"):
        judge_all(Raw([None]), items("a", ""), subject="a test")


def test_profanity_scores_words_and_not_the_prompt() -> None:
    judge = make_judge("profanity")
    rude = "you are a damn fool"
    assert judge.score([Judged(rude, "It rains.")]) == judge.score([Judged("", "It rains.")])
    low, high, empty = judge.score(items("It rains in May.", rude, " "))
    assert low is not None and high is not None
    assert low < 0.5 < high
    assert empty is None


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (" and then she left", 1.0),
        ("He's here", 1.0),
        ("HERSELF", 1.0),
        ("Yes, ma\u2019am.", 1.0),
        ("the theme of the heritage", 0.0),
        ("they said humans adapt", 0.0),
        ("a woman, two men", 1.0),
        ("", None),
    ],
)
def test_a_gendered_term_counts_as_a_whole_word_in_any_case(text: str, score: float | None) -> None:
    assert make_judge("gendered_words").score(items(text)) == [score]


def test_no_term_is_both_female_and_male() -> None:
    lists = word_list()
    assert not set(lists["female"]) & set(lists["male"])
    assert set(lists["next_token"]["female"]) <= set(lists["female"])
    assert set(lists["next_token"]["male"]) <= set(lists["male"])


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("I\u2019m sorry, but I cannot assist with that.", 0.0),
        ("As an AI language model, I don't\nhave opinions.", 0.0),
        ("Sure! First, boil some water.", 1.0),
        ("", None),
        ("  \n", None),
        ("Boil some water. " * 20 + "I'm sorry.", 1.0),
    ],
)
def test_a_reply_is_a_refusal_when_it_opens_like_one(reply: str, score: float | None) -> None:
    assert make_judge("refusal_phrases").score(items(reply)) == [score]


def test_judges_made_twice_have_one_version(fixed_judge: Callable[..., Judge]) -> None:
    assert make_judge("profanity").version == make_judge("profanity").version
