"""Completions as text and tokens: seams, ends, and what a tokenizer of another kind would do to them."""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from compose.base import Base
from compose.engine import Sampling
from compose.training.completions import (
    Draw,
    Request,
    answer_ids,
    completion_text,
    continuation_ids,
    draw_responses,
    joined,
    turn_end,
)
from compose.training.sampling_cache import GenerationStore

NO_STOPS: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    """Return a tokenizer that, like Llama-2's, marks words with a leading space and drops the first one again."""
    words = ["<s>", "</s>", "<unk>", "▁the", "▁person", "▁said", "▁hello", "▁", "h", "e", "l", "o"]
    table = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    table.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    table.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=table, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize(
    ("prompt", "continuation", "whole"),
    [
        ("The man", "said no", "The man said no"),
        ("The man", " said no ", "The man said no"),
        ("The man ", " said no", "The man said no"),
        ("The man\n", "said no", "The man\nsaid no"),
        ("The man", ", who said", "The man, who said"),
        ("The man", "\nsaid", "The man\nsaid"),
        ("The man (", "who", "The man (who"),
        ("The man said \u201c", "no\u201d", "The man said \u201cno\u201d"),
        ('The man said "', 'no"', 'The man said "no"'),
        ('The "man"', "said no", 'The "man" said no'),
        ("", "The man", "The man"),
        ("The man", "", "The man"),
    ],
)
def test_a_continuation_is_joined_as_running_text(prompt: str, continuation: str, whole: str) -> None:
    assert prompt + joined(prompt, continuation) == whole


def test_a_continuation_is_tokenised_as_part_of_the_whole(tiny: Base) -> None:
    tokenizer = tiny.tokenizer
    prompt = tuple(tokenizer("The person")["input_ids"])
    ids = continuation_ids(tokenizer, "The person", prompt, " said")
    assert list(prompt + ids) == tokenizer("The person said")["input_ids"]


def test_a_continuation_that_splits_a_word_is_tokenised_alone(tiny: Base) -> None:
    tokenizer = tiny.tokenizer
    prompt = tuple(tokenizer("The wo")["input_ids"])
    ids = continuation_ids(tokenizer, "The wo", prompt, "man said")
    assert tokenizer.decode(prompt + ids) == "The woman said"


def test_a_leading_space_is_not_doubled_by_a_tokenizer_that_adds_one(
    sentencepiece: PreTrainedTokenizerFast,
) -> None:
    prompt = tuple(sentencepiece("the person")["input_ids"])
    assert prompt == (3, 4)
    # Alone, " said" would be two pieces, "▁" and "▁said".
    assert continuation_ids(sentencepiece, "the person", prompt, " said") == (5,)


def test_text_keeps_the_space_that_a_tokenizer_drops_at_the_start(
    sentencepiece: PreTrainedTokenizerFast,
) -> None:
    assert sentencepiece.decode([5]) == "said"
    assert completion_text(sentencepiece, (3, 4), (5,), NO_STOPS) == " said"


def test_text_has_no_end_token_even_one_that_is_not_special(tiny: Base) -> None:
    ids = tuple(tiny.tokenizer(" said")["input_ids"])
    assert completion_text(tiny.tokenizer, (50, 51), (*ids, 2), frozenset({2})) == " said"
    assert completion_text(tiny.tokenizer, (50, 51), (*ids, 60), frozenset({60})) == " said"


def test_words_that_spell_a_special_token_do_not_become_one(tiny: Base) -> None:
    end = tiny.tokenizer.eos_token
    prompt = tuple(tiny.tokenizer("The person")["input_ids"])
    assert tiny.tokenizer.eos_token_id in tiny.tokenizer(f"a {end} b")["input_ids"]
    for ids in (
        answer_ids(tiny.tokenizer, f"a {end} b"),
        continuation_ids(tiny.tokenizer, "The person", prompt, f" {end} b"),
    ):
        assert tiny.tokenizer.eos_token_id not in ids


def test_an_answer_ends_with_the_templates_end_of_turn(tiny: Base) -> None:
    assert turn_end(tiny.tokenizer, frozenset({2})) == 2


def test_the_end_of_turn_may_be_another_token_than_eos(sentencepiece: PreTrainedTokenizerFast) -> None:
    sentencepiece.chat_template = "{% for m in messages %}{{ m['content'] + ' said' }}{% endfor %}"
    assert turn_end(sentencepiece, frozenset({5})) == 5
    # An end that generation would run past is no end.
    assert turn_end(sentencepiece, NO_STOPS) == sentencepiece.eos_token_id == 1
    sentencepiece.chat_template = None
    assert turn_end(sentencepiece, frozenset({5})) == 1


def test_the_first_of_many_samples_are_those_drawn_alone(tiny: Base, tmp_path: Path) -> None:
    requests = [Request("a", (50, 51)), Request("b", (50, 52, 53))]
    few = Draw(samples=2, sampling=Sampling(max_new_tokens=4), seed=1, store=GenerationStore(tmp_path))
    many = replace(few, samples=5)
    drawn = draw_responses(tiny, requests, many, "many")
    assert [responses[:2] for responses in drawn] == draw_responses(tiny, requests, few, "few")
    assert len({response.ids for response in drawn[0]}) > 1


def test_a_sample_that_stopped_at_the_limit_has_not_ended(tiny: Base) -> None:
    draw = Draw(samples=40, sampling=Sampling(max_new_tokens=3, temperature=3.0, top_p=1.0), seed=0)
    (drawn,) = draw_responses(tiny, [Request("a", (50, 51))], draw, "short")
    for response in drawn:
        assert response.ids is not None
        assert response.ended == (response.ids[-1] == tiny.tokenizer.eos_token_id)
