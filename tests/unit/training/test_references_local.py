"""References that run here: the base under an instruction, its best sample, another model."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from compose.base import Base
from compose.conf_path import conf_folder
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged
from compose.evaluate.prompts import Prompt, make_prompt, render
from compose.training.completions import Draw, Request, Response, draw_responses
from compose.training.references import (
    AnyReference,
    BestOfN,
    Instructed,
    OtherModel,
    ReferenceContext,
    ReferenceSettings,
    best_of_n,
    instructed,
    make_reference,
    other_model,
)
from compose.training.sampling_cache import GenerationStore

SAMPLING = Sampling(max_new_tokens=6)
OPEN = make_prompt("The person said")
CHAT = make_prompt("Who is that?", chat=True)


@pytest.fixture
def context(tiny: Base, lengths: Judge) -> ReferenceContext:
    return ReferenceContext(base=tiny, judge=lengths)


def asked(monkeypatch: pytest.MonkeyPatch, context: ReferenceContext, settings: Instructed, prompt: Prompt) -> str:
    """Return the text that the instructed base is asked to go on from."""
    seen: list[Request] = []

    def drawn(base: Base, requests: Sequence[Request], draw: Draw, label: str) -> list[list[Response]]:
        seen.extend(requests)
        return [[] for _ in requests]

    monkeypatch.setattr(instructed, "draw_responses", drawn)
    make_reference(settings, context).respond([prompt], 1, SAMPLING, 0)
    return str(context.base.tokenizer.decode(seen[0].ids))


def test_a_chat_model_is_told_in_the_system_message(monkeypatch: pytest.MonkeyPatch, context: ReferenceContext) -> None:
    assert asked(monkeypatch, context, Instructed(instruction="Be kind"), CHAT) == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nWho is that?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_without_system_messages_is_told_in_the_users(
    monkeypatch: pytest.MonkeyPatch, context: ReferenceContext
) -> None:
    assert asked(monkeypatch, context, Instructed(instruction="Be kind", place="user"), CHAT) == (
        "<|im_start|>user\nBe kind\n\nWho is that?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_running_text_has_the_instruction_in_front(monkeypatch: pytest.MonkeyPatch, context: ReferenceContext) -> None:
    told = asked(monkeypatch, context, Instructed(instruction="Be kind"), OPEN)
    assert told == "Be kind\n\nThe person said"


def test_a_template_that_refuses_system_messages_is_an_error_with_a_cure(
    context: ReferenceContext, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    monkeypatch.setattr(tiny.tokenizer, "chat_template", strict)
    with pytest.raises(Rejected, match=r"reference\.place=user"):
        make_reference(Instructed(instruction="Be kind"), context).respond([CHAT], 1, SAMPLING, 0)


def test_instructed_answers_are_drawn_tokens_of_the_base(context: ReferenceContext) -> None:
    reference = make_reference(Instructed(instruction="Be kind"), context)
    drawn = reference.respond([OPEN, CHAT], 3, SAMPLING, 5)
    assert [len(responses) for responses in drawn] == [3, 3]
    assert all(response.ids for responses in drawn for response in responses)
    assert drawn == reference.respond([OPEN, CHAT], 3, SAMPLING, 5)
    assert drawn != reference.respond([OPEN, CHAT], 3, SAMPLING, 6)


def test_references_with_other_instructions_have_other_names(context: ReferenceContext) -> None:
    names = {make_reference(Instructed(instruction=text), context).name for text in ("Be kind", "Be fair")}
    assert len(names) == 2


class Listed:
    """A judge with a score for each text."""

    name, version = "listed", "1"

    def __init__(self, scores: dict[str, float | None]) -> None:
        self.scores = scores

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        return [self.scores[item.completion] for item in items]


def best(
    monkeypatch: pytest.MonkeyPatch, tiny: Base, scores: Sequence[tuple[str, float | None]], samples: int = 1
) -> list[str]:
    """Return the texts that best of n takes when the base says these texts with these scores."""

    def drawn(base: Base, requests: Sequence[Request], draw: Draw, label: str) -> list[list[Response]]:
        assert draw.samples == len(scores)
        return [[Response(text, (n,), False) for n, (text, _) in enumerate(scores)] for _ in requests]

    monkeypatch.setattr(best_of_n, "draw_responses", drawn)
    context = ReferenceContext(base=tiny, judge=Listed(dict(scores)))
    reference = make_reference(BestOfN(n=len(scores), min_words=3), context)
    (responses,) = reference.respond([OPEN], samples, SAMPLING, 0)
    return [response.text for response in responses]


def test_the_safest_sample_is_taken(monkeypatch: pytest.MonkeyPatch, tiny: Base) -> None:
    assert best(monkeypatch, tiny, [("a b c", 0.4), ("d e f", 0.1), ("g h i", 0.2)]) == ["d e f"]


def test_of_equally_safe_samples_the_first_drawn_is_taken(monkeypatch: pytest.MonkeyPatch, tiny: Base) -> None:
    assert best(monkeypatch, tiny, [("a b c", 0.4), ("z y x", 0.1), ("g h i", 0.1)]) == ["z y x"]


def test_short_and_repeating_samples_are_taken_only_without_others_and_empty_ones_never(
    monkeypatch: pytest.MonkeyPatch, tiny: Base
) -> None:
    circle = "go on and go on and go on and go on and"  # 10 trigrams, of which 3 are different: .7 are repeated
    said = [("", 0.0), ("no", 0.0), (circle, 0.0), ("a fair and kind text", 0.9)]
    assert best(monkeypatch, tiny, said) == ["a fair and kind text"]
    assert best(monkeypatch, tiny, said, samples=2) == ["a fair and kind text"]
    assert best(monkeypatch, tiny, said[:3], samples=2) == ["no", circle]


def test_the_same_text_is_not_given_twice(monkeypatch: pytest.MonkeyPatch, tiny: Base) -> None:
    said = [("a b c", 0.1), ("a b c", 0.1), ("d e f", 0.2)]
    assert best(monkeypatch, tiny, said, samples=3) == ["a b c", "d e f"]


def test_samples_that_nobody_could_judge_are_left_out(monkeypatch: pytest.MonkeyPatch, tiny: Base) -> None:
    assert best(monkeypatch, tiny, [("a b c", None), ("d e f", 0.9)], samples=2) == ["d e f"]


def test_best_of_n_shares_its_samples_with_the_rejected_side(tiny: Base, lengths: Judge, tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    request = Request(OPEN.id, render(tiny.tokenizer, OPEN))
    draw_responses(tiny, [request], Draw(samples=4, sampling=SAMPLING, seed=2, store=store), "rejected")
    context = ReferenceContext(base=tiny, judge=lengths, store=store)
    make_reference(BestOfN(n=6), context).respond([OPEN], 1, SAMPLING, 2)
    assert len(store) == 6


@pytest.mark.parametrize(("n", "temperature"), [(3, 1.0), (8, 0.0)])
def test_best_of_n_refuses_what_leaves_no_choice(context: ReferenceContext, n: int, temperature: float) -> None:
    sampling = Sampling(max_new_tokens=3, temperature=temperature)
    with pytest.raises(Rejected, match="reference-invalid"):
        make_reference(BestOfN(n=n), context).respond([OPEN], 4, sampling, 0)


def test_another_model_of_the_same_vocabulary_gives_its_tokens(
    context: ReferenceContext, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_model, "load_base", lambda name, device: tiny)
    reference = make_reference(OtherModel(model="tiny"), context)
    request = Request(OPEN.id, render(tiny.tokenizer, OPEN))
    expected = draw_responses(tiny, [request], Draw(samples=2, sampling=SAMPLING, seed=1), "expected")
    assert reference.respond([OPEN], 2, SAMPLING, 1) == expected
    assert reference.name == "tiny"


def test_another_model_of_another_vocabulary_gives_text_alone(
    context: ReferenceContext, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_model, "load_base", lambda name, device: tiny)
    reference = make_reference(OtherModel(model="tiny"), context)
    with_ids = reference.respond([OPEN], 2, SAMPLING, 1)
    monkeypatch.setattr(other_model, "same_vocabulary", lambda one, other: False)
    assert reference.respond([OPEN], 2, SAMPLING, 1) == [[r._replace(ids=None) for r in with_ids[0]]]


def test_another_model_is_in_memory_only_while_it_answers(
    context: ReferenceContext, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    alive: weakref.WeakSet[Base] = weakref.WeakSet()

    def load(name: str, device: str) -> Base:
        loaded.append(f"{name} on {device}")
        other = replace(tiny, name=name)
        alive.add(other)
        return other

    monkeypatch.setattr(other_model, "load_base", load)
    reference = make_reference(OtherModel(model="tiny"), context)
    assert loaded == []
    reference.respond([OPEN], 1, SAMPLING, 1)
    assert loaded == ["tiny on cpu"]  # where the patched base is
    gc.collect()
    assert len(alive) == 0


def test_a_model_that_conf_does_not_know_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ValueError, match="known models are"):
        OtherModel(model="nobody")


def test_every_kind_has_a_settings_file_of_its_name_that_is_valid() -> None:
    files = {path.stem: path for path in (conf_folder() / "reference").glob("*.yaml")}
    made = {
        name: TypeAdapter(ReferenceSettings).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
        for name, path in files.items()
    }
    assert {type(one) for one in made.values()} == set(get_args(AnyReference))
    assert {one.kind for one in made.values()} == set(made)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "instructed"},
        {"kind": "instructed", "instruction": "  "},
        {"kind": "instructed", "instruction": "Be kind", "palce": "user"},
        {"kind": "best_of_n", "n": 1},
        {"kind": "nobody"},
        {"kind": "endpoint", "base_url": "ftp://host/v1", "model": "m"},
        {"kind": "endpoint", "base_url": "http://name:secret@host/v1", "model": "m"},
        {"kind": "endpoint", "base_url": "http://host/v1", "model": "m", "timeout_s": 0},
    ],
)
def test_wrong_settings_are_refused_at_the_start(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ReferenceSettings).validate_python(values)
