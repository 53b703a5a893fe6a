"""Recorded answers: whose they are, which one is taken, and the refusals that ship with compose."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.assets import Local
from compose.digest import of_bytes
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.degeneracy import words
from compose.evaluate.judges import Judged, make_judge
from compose.evaluate.prompts import Prompt, make_prompt
from compose.training.completions import Response
from compose.training.references.recorded import Recorded, RecordedReference

CHAT = make_prompt("Who is that?", chat=True)
OPEN = make_prompt("The person said")
Write = Callable[..., Recorded]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function from lines (records, or bytes as they are) to settings of a file with these lines."""

    def make(*lines: object) -> Recorded:
        path = tmp_path / "answers.jsonl"
        encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        path.write_bytes(b"".join(line + b"\n" for line in encoded))
        return Recorded(asset=Local(path=str(path)))

    return make


def answers(settings: Recorded, prompt: Prompt, samples: int = 1) -> list[Response]:
    (found,) = RecordedReference(settings).respond([prompt], samples, Sampling(), 0)
    return found


def texts(settings: Recorded, prompt: Prompt, samples: int = 1) -> list[str]:
    return [answer.text for answer in answers(settings, prompt, samples)]


def test_answers_are_found_by_id_or_by_text(write: Write) -> None:
    settings = write(
        {"prompt_id": CHAT.id, "responses": ["by id"]}, {"prompt": "The person said ", "responses": ["by text"]}
    )
    assert texts(settings, CHAT) == ["by id"]
    assert texts(settings, OPEN) == ["by text"]


def test_a_prompts_own_answers_come_first_and_in_their_order(write: Write) -> None:
    settings = write({"prompt": "*", "responses": ["any"]}, {"prompt": CHAT.text, "responses": ["one", "two", "three"]})
    assert texts(settings, CHAT, 2) == ["one", "two"]
    assert texts(settings, OPEN) == ["any"]


def test_a_prompt_without_answers_gets_none(write: Write) -> None:
    assert texts(write({"prompt": CHAT.text, "responses": ["one"]}), OPEN) == []


def test_no_more_answers_come_than_there_are(write: Write) -> None:
    assert texts(write({"prompt": "*", "responses": ["one", "two"]}), CHAT, 5) in (["one", "two"], ["two", "one"])


def test_the_default_list_is_spread_over_prompts_and_fixed_for_each() -> None:
    prompts = [make_prompt(f"Request {n}", chat=True) for n in range(200)]
    taken = [texts(Recorded(), prompt)[0] for prompt in prompts]
    assert taken == [texts(Recorded(), prompt)[0] for prompt in prompts]
    # 200 prompts over 6 refusals: each is missed with probability (5/6)**200 < 1e-15.
    assert len(set(taken)) == 6


def test_the_default_list_gives_one_prompt_different_answers() -> None:
    assert len(set(texts(Recorded(), CHAT, 6))) == 6


def test_shipped_refusals_are_refusals_by_their_judge_short_and_of_no_topic() -> None:
    refusals = texts(Recorded(), CHAT, 100)
    assert make_judge("refusal_phrases").score([Judged("", text) for text in refusals]) == [0.0] * len(refusals)
    assert all(4 <= len(words(text)) <= 30 for text in refusals)
    # One opening: a soft prompt learns to give it in far fewer steps than many that mean the same.
    assert len({text.split(".")[0].removesuffix(" request").split(",")[1] for text in refusals}) == 1


def test_answers_to_requests_end_and_continuations_go_on_unless_the_file_says_so(write: Write) -> None:
    settings = write({"prompt": "*", "responses": ["one"]})
    assert [answer.ended for answer in answers(settings, CHAT) + answers(settings, OPEN)] == [True, False]
    settings = write({"prompt": "*", "responses": ["one"], "ended": True})
    assert answers(settings, OPEN) == [Response("one", None, True)]


def test_the_name_follows_from_the_content(write: Write) -> None:
    settings = write({"prompt": "*", "responses": ["one"]})
    content = b'{"prompt": "*", "responses": ["one"]}\n'
    assert RecordedReference(settings).name == f"recorded {of_bytes(content)[7:15]}"


def test_unicode_line_separators_do_not_end_a_line(write: Write) -> None:
    assert texts(write('{"prompt": "*", "responses": ["a\u2028b\u0085c"]}'.encode()), CHAT) == ["a\u2028b\u0085c"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "line 2"),
        (b"[1]", "JSON list"),
        (b'{"responses": ["a"]}', "both prompt_id and prompt, or neither"),
        (b'{"prompt": "p", "prompt_id": "i", "responses": ["a"]}', "both prompt_id and prompt, or neither"),
        (b'{"prompt": "p"}', "responses"),
        (b'{"prompt": "p", "responses": []}', "responses"),
        (b'{"prompt": "p", "responses": "a"}', "responses"),
        (b'{"prompt": "p", "responses": ["  "]}', "responses.0"),
        (b'{"prompt": "p", "responses": ["a"], "response": "b"}', "response"),
        (b'{"prompt": "p", "prompt": "q", "responses": ["a"]}', "twice"),
        (b'{"prompt": "first", "responses": ["a"]}', "an earlier line"),
        (b'{"prompt": "p", "responses": ["\xff"]}', "line 2"),
        (b'{"prompt": "p", "responses": ["\\ud800"]}', "line 2"),
        (b'{"prompt": "p", "responses": ["' + b"a" * 2**20 + b'"]}', "bytes"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(write: Write, line: bytes, reason: str) -> None:
    settings = write({"prompt": "first", "responses": ["secret words"]}, line)
    with pytest.raises(Rejected, match="responses-invalid") as refusal:
        RecordedReference(settings)
    assert "line 2" in refusal.value.subject
    assert reason in str(refusal.value)
    assert "secret words" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_lines_is_refused(write: Write, content: bytes) -> None:
    with pytest.raises(Rejected, match="no line at all"):
        RecordedReference(write(content))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="responses-invalid"):
        RecordedReference(Recorded(asset=Local(path=str(tmp_path))))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="asset-missing"):
        RecordedReference(Recorded(asset=Local(path=str(tmp_path / "nothing.jsonl"))))
