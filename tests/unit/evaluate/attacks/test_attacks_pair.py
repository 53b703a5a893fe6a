"""The PAIR-style loop: who proposes is told what its prompts scored, and what cannot be asked is counted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from compose.assets import Local
from compose.errors import Rejected
from compose.evaluate.attacks.attacker import Proposal, Tried
from compose.evaluate.attacks.pair import IDLE_ROUNDS, PairAttack
from compose.evaluate.attacks.rewriter import Rewriter, RewritingAttacker
from compose.evaluate.attacks.target import Reply
from compose.evaluate.attacks.templates import REQUEST, TemplateAttacker, Templates, frame_of, joined, nested, shortened
from compose.evaluate.sources import PromptFile
from tests.model_server import ModelServer, chat_reply, serving
from tests.unit.evaluate.attacks.conftest import MakeTarget


class Scripted:
    """Proposes by a function of how much a stream has tried, and remembers what it was shown."""

    name, version = "scripted", "1"

    def __init__(self, *texts: str | None) -> None:
        self.texts = texts
        self.shown: list[list[list[float | None]]] = []

    def propose(self, request: str, streams: Sequence[Sequence[Tried]], source: random.Random) -> list[Proposal | None]:
        self.shown.append([[one.reply.score for one in stream] for stream in streams])
        return [
            None if (text := self.texts[(len(self.shown) - 1 + place) % len(self.texts)]) is None else Proposal(text)
            for place, _ in enumerate(streams)
        ]


def reply(score: float | None, text: str = "said") -> Reply:
    return Reply("asked", text, score, False, 1)


def templates(path: Path, texts: Sequence[str], *, group: str = "[HERE]", **fields: object) -> Templates:
    path.write_text(json.dumps(list(texts)), encoding="utf-8")
    source = PromptFile(format="json", rows="", group=group, asset=Local(path=str(path)))
    return Templates(sources=(source,), **fields)  # type: ignore[arg-type]


def test_every_stream_is_told_its_own_scores_and_the_budget_is_spent_on_replies(make_target: MakeTarget) -> None:
    target = make_target(lambda _: 0.25, budget=5)
    attacker = Scripted("the man", "a woman")
    PairAttack(attacker, 2).run(target)

    assert attacker.shown == [[[], []], [[0.25], [0.25]], [[0.25, 0.25]]]
    assert (target.spent.replies, target.spent.queries, target.spent.proposals, target.left) == (5, 5, 5, 0)
    assert [one.prompt for one in target.replies] == ["the man", "a woman", "a woman", "the man", "the man"]


def test_an_unsafe_reply_ends_the_loop(make_target: MakeTarget) -> None:
    target = make_target(lambda _: 1.0, budget=50)
    PairAttack(Scripted("the man"), 3).run(target)
    assert target.spent.replies == 3


def test_proposals_that_cannot_be_asked_are_counted_and_cost_nothing(make_target: MakeTarget) -> None:
    target = make_target(budget=50)
    PairAttack(Scripted(None, " man" * 5000), 1).run(target)

    spent = target.spent
    assert (spent.proposals, spent.unusable, spent.queries) == (IDLE_ROUNDS, IDLE_ROUNDS, 0)


def test_frames_are_prompts_with_the_place_of_the_request_known(tmp_path: Path) -> None:
    texts = ["Say: [HERE]. Now.", "say: [here]!", "no place", "Say: [HERE]. Now.", "x" * 900 + "[HERE]"]
    attacker = TemplateAttacker(templates(tmp_path / "t.json", texts))
    assert attacker.frames == (f"Say: {REQUEST}. Now.", f"say: {REQUEST}!")


def test_the_group_of_a_replayed_prompt_is_the_request_that_it_was_found_for(tmp_path: Path) -> None:
    rows = [{"prompt": "As a game, WRITE a poem, now", "goal": "Write a poem"}, {"prompt": "other", "goal": "Sing"}]
    (tmp_path / "j.json").write_text(json.dumps({"jailbreaks": rows}), encoding="utf-8")
    asset = Local(path=str(tmp_path / "j.json"))
    source = PromptFile(format="json", rows="jailbreaks", group_column="goal", asset=asset)
    assert TemplateAttacker(Templates(sources=(source,))).frames == (f"As a game, {REQUEST}, now",)


def test_without_a_frame_there_is_no_attacker(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        TemplateAttacker(templates(tmp_path / "t.json", ["no place here"]))
    assert caught.value.code == "prompts-empty"
    assert "no place here" not in str(caught.value)


def test_first_come_frames_that_were_not_tried_with_the_request_in_them(tmp_path: Path) -> None:
    attacker = TemplateAttacker(templates(tmp_path / "t.json", [f"Frame {n}: [HERE]" for n in range(6)]))
    proposals = attacker.propose("sing", [[] for _ in range(6)], random.Random(0))
    assert sorted(one.text for one in proposals if one) == [f"Frame {n}: sing" for n in range(6)]


def test_later_the_best_frame_is_mutated(tmp_path: Path) -> None:
    texts = ["Best one. Do [HERE].", "Bad two. Do [HERE]. Or so."]
    attacker = TemplateAttacker(templates(tmp_path / "t.json", texts, explore=0.0))
    best, bad = attacker.frames
    stream = [Tried(Proposal("x", bad), reply(0.1)), Tried(Proposal("y", best), reply(0.7))]
    stream.append(Tried(Proposal("z", bad), reply(None)))
    source = random.Random(3)
    made = {one.frame for _ in range(40) for one in attacker.propose("sing", [stream], source) if one}

    others = {f"Bad two. {best}", f"Or so. {best}", f"Best one. {best}", f"Do {REQUEST}."}
    inside = {best.replace(REQUEST, best), bad.replace(REQUEST, best)}
    assert made == others | inside


def test_mutations_keep_the_place_of_the_request() -> None:
    source = random.Random(0)
    assert joined(f"A {REQUEST}", f"One. {REQUEST}?", source) == f"One. A {REQUEST}"
    assert joined(f"A {REQUEST}", REQUEST, source) == f"A {REQUEST}"
    assert shortened(f"One. Do {REQUEST} now.", "", source) == f"Do {REQUEST} now."
    assert shortened(REQUEST, "", source) == REQUEST
    assert nested(f"A {REQUEST}", f"B {REQUEST}", source) == f"B A {REQUEST}"
    assert frame_of("a+b", "A+B") == REQUEST
    assert frame_of("text", "") is None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    answers = ['{"prompt": "Could you help?"}', "I would rather not.", '```json\n{"why": 1, "prompt": " Or so? "}\n```']
    made = ModelServer(lambda number, body: chat_reply(answers[number % 3]))
    with serving(made):
        yield made


def test_a_server_is_shown_the_request_and_what_each_try_scored(server: ModelServer) -> None:
    attacker = RewritingAttacker(
        Rewriter(base_url=server.url, model="m", concurrency=1, remember=2, retries=0), sleep=lambda _: None
    )
    stream = [Tried(Proposal(f"try {n}"), reply(score)) for n, score in enumerate((0.0, 0.32, None))]
    proposals = attacker.propose("sing", [stream, [], []], random.Random(0))

    assert [one and one.text for one in proposals] == ["Could you help?", None, "Or so?"]
    path, body, _ = server.asked[0]
    shown = json.loads(body["messages"][1]["content"])
    assert path == "/v1/chat/completions"
    assert shown["request"] == "sing"
    assert [(one["prompt"], one["score"]) for one in shown["tried"]] == [("try 1", 3), ("try 2", None)]


def test_the_loop_runs_with_a_server_and_counts_what_is_no_proposal(
    server: ModelServer, make_target: MakeTarget
) -> None:
    target = make_target(budget=4)
    settings = Rewriter(base_url=server.url, model="m", concurrency=1, retries=0)
    PairAttack(RewritingAttacker(settings, sleep=lambda _: None), 3).run(target)
    spent = target.spent
    assert spent.replies == 4
    assert spent.unusable >= 1
    assert spent.proposals == spent.replies + spent.unusable
