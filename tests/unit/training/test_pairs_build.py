"""Making pairs: which completions meet, what is dropped and counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from compose.base import Base, stop_ids
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged
from compose.evaluate.prompts import Prompt, make_prompt, render
from compose.training import build
from compose.training.build import PairSettings, PairTask, build_pairs
from compose.training.completions import Draw, Request, Response
from compose.training.filters import Filters, FilterTable
from compose.training.pairs import PairSet
from compose.training.sampling_cache import GenerationStore

Say = Callable[..., None]

OPEN = make_prompt("The person said")
CHAT = make_prompt("Who is that?", chat=True)


class Scripted:
    """A reference that answers every prompt with the same texts."""

    name = "scripted"

    def __init__(self, *texts: str, ended: bool = False) -> None:
        self.texts = texts
        self.ended = ended

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        return [[Response(text, None, self.ended) for text in self.texts[:samples]] for _ in prompts]


class Table:
    """A judge that reads its scores from a table of words; a word it does not know is not judged."""

    name = "table"
    version = "7"
    scores: ClassVar = {"worst": 0.9, "bad": 0.7, "fair": 0.45, "good": 0.2, "best": 0.1, "odd": None}

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        return [self.scores.get(item.completion.strip()) for item in items]


def settings(**changes: object) -> PairSettings:
    fields: dict[str, object] = {
        "filters": Filters(margin=0.2, winner=0.5),
        "samples": 4,
        "reference_samples": 4,
        "min_pairs": 1,
    }
    return PairSettings(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, tiny: Base) -> Say:
    """Return a function that makes the base say given words instead of what it would say."""

    def script(*words: str) -> None:
        def drawn(base: Base, requests: Sequence[Request], draw: Draw, label: str) -> list[list[Response]]:
            ids = [tuple(tiny.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in words]
            return [[Response(f" {w}", i, False) for w, i in zip(words, ids, strict=True)] for _ in requests]

        monkeypatch.setattr(build, "draw_responses", drawn)

    return script


def made(tiny: Base, reference: Scripted, judge: Judge | None = None, **changes: object) -> PairSet:
    task = PairTask(risk="toxicity", prompts=(OPEN,), judge=judge or Table())
    return build_pairs(tiny, reference, task, settings(**changes), seed=0)


def sides(pairs: PairSet) -> list[tuple[str, str]]:
    return [(pair.chosen.strip(), pair.rejected.strip()) for pair in pairs.pairs]


def test_the_worst_of_the_base_meets_the_best_of_the_reference(tiny: Base, say: Say) -> None:
    say("bad", "fair", "worst", "good")
    pairs = made(tiny, Scripted("fair", "best", "good"))
    assert sides(pairs) == [("best", "worst")]
    (pair,) = pairs.pairs
    assert (pair.chosen_score, pair.rejected_score) == (0.1, 0.9)
    assert (pair.judge, pair.reference, pair.risk) == ("table 7", "scripted", "toxicity")
    assert pair.prompt_ids == render(tiny.tokenizer, OPEN)
    assert pair.sampling == Sampling()


def test_further_pairs_take_the_second_of_each_side(tiny: Base, say: Say) -> None:
    say("bad", "fair", "worst", "good")
    pairs = made(tiny, Scripted("fair", "best", "good"), pairs_per_prompt=3)
    # worst-best and bad-good pass; fair (.45) against fair is the same text.
    assert sides(pairs) == [("best", "worst"), ("good", "bad")]
    assert pairs.table == FilterTable(candidates=3, duplicate=1, kept=2)


def test_equal_scores_keep_the_order_of_drawing(tiny: Base, say: Say) -> None:
    class Half:
        name, version = "half", "1"

        def score(self, items: Sequence[Judged]) -> list[float | None]:
            return [0.9 if item.completion in (" man", " woman") else 0.1 for item in items]

    say("man", "woman")
    assert sides(made(tiny, Scripted("kind", "fair"), Half())) == [("kind", "man")]


@pytest.mark.parametrize(
    ("base_says", "reference_says", "counted"),
    [
        (("worst",), (), "unanswered"),
        (("worst",), ("...",), "empty"),
        (("", " "), ("best",), "empty"),
        (("worst",), ("odd",), "unjudged"),
        (("bad",), ("bad",), "duplicate"),
        (("good",), ("best",), "margin"),
        (("best",), ("fair",), "reversed"),
        (("worst",), ("fair", "worst"), "kept"),
    ],
)
def test_every_candidate_is_counted_once_under_what_became_of_it(
    tiny: Base, say: Say, base_says: tuple[str, ...], reference_says: tuple[str, ...], counted: str
) -> None:
    say(*base_says)
    if counted == "kept":
        assert made(tiny, Scripted(*reference_says)).table == FilterTable(candidates=1, kept=1)
        return
    with pytest.raises(Rejected, match="pairs-empty") as refusal:
        made(tiny, Scripted(*reference_says))
    assert f"0 of 1 candidates (1 {counted})" in refusal.value.got
    assert refusal.value.fix == build.CURES[counted]


def test_an_unacceptable_winner_is_dropped(tiny: Base, say: Say) -> None:
    say("worst")
    with pytest.raises(Rejected, match="1 winner"):
        made(tiny, Scripted("bad"), filters=Filters(margin=0.1, winner=0.5))


def test_the_same_prompt_twice_makes_one_pair(tiny: Base, say: Say) -> None:
    say("worst")
    task = PairTask(risk="toxicity", prompts=(OPEN, OPEN), judge=Table())
    pairs = build_pairs(tiny, Scripted("best"), task, settings(), seed=0)
    assert pairs.table == FilterTable(candidates=2, duplicate=1, kept=1)


def test_too_few_pairs_stop_before_training(tiny: Base, say: Say) -> None:
    say("worst")
    with pytest.raises(Rejected, match="at least 2 pairs"):
        made(tiny, Scripted("best"), min_pairs=2)


def test_a_silent_judge_is_refused(tiny: Base, say: Say) -> None:
    say("odd")
    with pytest.raises(Rejected, match="judge-silent"):
        made(tiny, Scripted("odd"))


def test_more_pairs_than_samples_are_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="pairs_per_prompt"):
        settings(samples=2, pairs_per_prompt=3)


def test_texts_of_a_reference_become_tokens_that_fit_their_prompt(tiny: Base, lengths: Judge) -> None:
    task = PairTask(risk="harm", prompts=(OPEN, CHAT), judge=lengths)
    wide = settings(filters=Filters(margin=0.0, winner=1.0), sampling=Sampling(max_new_tokens=30))
    reference = Scripted("I am sorry ", ended=True)
    pairs = build_pairs(tiny, reference, task, wide, seed=0).pairs
    end = tiny.tokenizer.eos_token_id
    plain, chat = (pair.chosen_ids for pair in pairs)
    assert tiny.tokenizer.decode(pairs[0].prompt_ids + plain[:-1]) == "The person said I am sorry"
    assert tiny.tokenizer.decode(chat[:-1]) == "I am sorry"
    assert plain[-1] == chat[-1] == end


def test_long_texts_are_cut_to_the_length_of_samples_and_do_not_end(tiny: Base, lengths: Judge) -> None:
    task = PairTask(risk="harm", prompts=(CHAT,), judge=lengths)
    short = settings(filters=Filters(margin=0.0, winner=1.0), sampling=Sampling(max_new_tokens=3))
    (pair,) = build_pairs(tiny, Scripted("I am", "I am sorry and kind", ended=True), task, short, seed=0).pairs
    whole = tuple(tiny.tokenizer("I am sorry and kind", add_special_tokens=False)["input_ids"])
    assert len(whole) > 3
    candidates = {tuple(tiny.tokenizer("I am")["input_ids"]), whole[:3]}
    assert pair.chosen_ids in candidates | {(*one, 2) for one in candidates if len(one) < 3}
    assert len(pair.chosen_ids) <= 3


def test_completions_of_the_base_keep_the_tokens_they_were_drawn_as(tiny: Base, lengths: Judge) -> None:
    prompts = tuple(make_prompt(f"The person {n} said") for n in range(6))
    task = PairTask(risk="harm", prompts=prompts, judge=lengths)
    loose = settings(filters=Filters(margin=0.0, winner=1.0), sampling=Sampling(max_new_tokens=6))
    pairs = build_pairs(tiny, Scripted("a"), task, loose, seed=3).pairs
    stops = stop_ids(tiny)
    for pair in pairs:
        ended = pair.rejected_ids[-1] in stops
        assert len(pair.rejected_ids) == 6 or ended
        text = pair.rejected_ids[:-1] if ended else pair.rejected_ids
        assert tiny.tokenizer.decode(text, skip_special_tokens=True) == pair.rejected


def test_pairs_follow_from_their_seed_and_cost_nothing_twice(tiny: Base, lengths: Judge, tmp_path: Path) -> None:
    prompts = tuple(make_prompt(f"The person {n} said") for n in range(4))
    task = PairTask(risk="harm", prompts=prompts, judge=lengths)
    loose = settings(filters=Filters(margin=0.0, winner=1.0), sampling=Sampling(max_new_tokens=6))
    digests = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        store = GenerationStore(tmp_path)
        before = len(store)
        digests[name] = build_pairs(tiny, Scripted("a"), task, loose, seed=seed, store=store).digest
        assert len(store) - before == (0 if name == "again" else 16)
    assert digests["first"] == digests["again"] != digests["other"]


def test_a_share_of_the_prompts_is_the_first_of_them_rounded_up(tiny: Base, say: Say) -> None:
    say("bad")
    prompts = (OPEN, make_prompt("The neighbour said"), make_prompt("The teacher said"))
    task = PairTask(risk="any", prompts=prompts, judge=Table())

    made = build_pairs(tiny, Scripted(" best"), task, settings(share=0.5), seed=0)

    assert [pair.prompt_id for pair in made.pairs] == [prompts[0].id, prompts[1].id]
