"""A model server as a reference, against a real HTTP server on this machine."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.prompts import Prompt, make_prompt
from compose.training.completions import Response
from compose.training.references.endpoint import Endpoint, EndpointReference
from compose.training.sampling_cache import GenerationStore
from tests.model_server import ModelServer, Reply, chat_reply, serving

CHAT = make_prompt("Who is that?", chat=True)
OPEN = make_prompt("The person said")
SAMPLING = Sampling(max_new_tokens=7, temperature=0.5, top_p=0.75)


def text_reply(text: str = " no.", reason: str = "stop") -> Reply:
    return 200, {}, json.dumps({"choices": [{"text": text, "finish_reason": reason}]}).encode()


class Server(ModelServer):
    """A model server that replies as the test says, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda number, body: chat_reply())

    def replies(self, *replies: Reply) -> None:
        """Give these replies in turn, and the last one from then on."""
        self.reply = lambda number, body: replies[min(number, len(replies) - 1)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    with serving(made):
        yield made


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def ask(server: Server, pauses: list[float]) -> Callable[..., list[list[Response]]]:
    """Return a function that asks the server, with pauses noted instead of waited for."""

    def run(
        *prompts: Prompt, samples: int = 1, seed: int = 0, store: GenerationStore | None = None, **changes: Any
    ) -> list[list[Response]]:
        fields: dict[str, Any] = {"base_url": server.url, "model": "m", "concurrency": 1, **changes}
        settings = Endpoint(**fields)
        environment = {"KEY": "sesame", "BAD_KEY": "ses\name"}
        reference = EndpointReference(settings, store, sleep=pauses.append, environment=environment)
        return reference.respond(prompts or (CHAT,), samples, SAMPLING, seed)

    return run


Ask = Callable[..., list[list[Response]]]


def test_a_request_goes_to_the_chat_with_all_settings(server: Server, ask: Ask) -> None:
    assert ask(CHAT, instruction="Be kind", api_key_env="KEY") == [[Response("A kind answer.", None, True)]]
    ((path, body, headers),) = server.asked
    seed = body.pop("seed")
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Who is that?"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.75,
        "n": 1,
    }
    assert 0 <= seed < 2**31
    assert headers["Authorization"] == "Bearer sesame"


def test_running_text_goes_to_completions(server: Server, ask: Ask) -> None:
    server.replies(text_reply())
    assert ask(OPEN) == [[Response(" no.", None, True)]]
    ((path, body, headers),) = server.asked
    assert (path, body["prompt"]) == ("/v1/completions", "The person said")
    assert "messages" not in body and "Authorization" not in headers


def test_running_text_can_go_to_the_chat_and_then_does_not_end(server: Server, ask: Ask) -> None:
    assert ask(OPEN, running_text="chat", continue_with="Go on:") == [[Response("A kind answer.", None, False)]]
    assert server.asked[0][1]["messages"] == [{"role": "user", "content": "Go on:\n\nThe person said"}]


def test_an_answer_that_met_the_limit_has_not_ended(server: Server, ask: Ask) -> None:
    server.replies(chat_reply(reason="length"))
    assert ask() == [[Response("A kind answer.", None, False)]]


def test_samples_have_seeds_of_their_own_that_follow_from_the_run(server: Server, ask: Ask) -> None:
    ask(CHAT, OPEN, samples=2, running_text="chat")
    ask(CHAT, OPEN, samples=2, running_text="chat")
    seeds = [body["seed"] for _, body, _ in server.asked]
    assert len(set(seeds[:4])) == 4
    assert seeds[:4] == seeds[4:]


def test_answers_are_in_the_order_of_the_prompts_whoever_is_first(server: Server, ask: Ask) -> None:
    prompts = [make_prompt(f"Request {n}", chat=True) for n in range(12)]

    def reply(number: int, body: dict[str, Any]) -> Reply:
        return chat_reply(server.asked[number][1]["messages"][-1]["content"])

    server.reply = reply
    drawn = ask(*prompts, concurrency=4)
    assert [responses[0].text for responses in drawn] == [prompt.text for prompt in prompts]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again_after_a_growing_pause(
    server: Server, ask: Ask, pauses: list[float], status: int
) -> None:
    server.replies((status, {}, b""), (status, {}, b""), chat_reply())
    assert ask(backoff_s=0.5) == [[Response("A kind answer.", None, True)]]
    assert pauses == [0.5, 1.0]


def test_the_pause_is_what_the_server_asks_for_up_to_a_minute(server: Server, ask: Ask, pauses: list[float]) -> None:
    wishes = ("7", "3600", "Wed, 21 Oct 2026 07:28:00 GMT", "-5")
    server.replies(*((429, {"Retry-After": wish}, b"") for wish in wishes), chat_reply())
    ask(backoff_s=2.0)
    assert pauses == [7.0, 60.0, 8.0, 16.0]


def test_a_server_that_is_too_slow_is_a_counted_failure(server: Server, ask: Ask, pauses: list[float]) -> None:
    server.replies((0, {}, b""))
    with pytest.raises(Rejected, match="endpoint-failed") as refusal:
        ask(timeout_s=0.05, retries=1)
    assert "1 x no answer in time" in refusal.value.got
    assert len(server.asked) == 2 and len(pauses) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((200, {}, b"{not json"), "a body that is no JSON object"),
        ((200, {}, b""), "a body that is no JSON object"),
        ((200, {}, b"[]"), "a body that is no JSON object"),
        ((200, {}, b"{}"), "an answer without choices"),
        ((200, {}, b'{"choices": []}'), "an answer without choices"),
        ((200, {}, b'{"choices": "text"}'), "an answer without choices"),
        ((200, {}, b'{"choices": ["text"]}'), "an answer without choices"),
        ((200, {}, b'{"choices": [{"message": null}]}'), "a choice without text"),
        (chat_reply(None), "a choice without text"),
        (chat_reply(["text"]), "a choice without text"),
        (chat_reply("Half an ans", "content_filter"), "an answer that was cut off by the server"),
        ((200, {"Content-Length": "99"}, b"{}"), "a body that broke off"),
        ((503, {}, b""), "HTTP 503"),
    ],
)
def test_what_is_no_answer_is_a_counted_failure_after_all_tries(
    server: Server, ask: Ask, reply: Reply, reason: str
) -> None:
    server.replies(reply)
    with pytest.raises(Rejected, match="endpoint-failed") as refusal:
        ask(retries=2)
    assert f"1 x {reason}" in refusal.value.got
    assert len(server.asked) == 3


def test_failures_up_to_the_allowed_share_leave_their_prompts_unanswered(server: Server, ask: Ask) -> None:
    server.replies(chat_reply("first"), (200, {}, b"{}"), chat_reply("third"), chat_reply("fourth"))
    prompts = [make_prompt(f"Request {n}", chat=True) for n in range(4)]
    drawn = ask(*prompts, retries=0, max_failure_share=0.25)
    assert [[one.text for one in responses] for responses in drawn] == [["first"], [], ["third"], ["fourth"]]


def test_a_run_stops_at_the_first_failure_too_many(server: Server, ask: Ask) -> None:
    server.replies((500, {}, b""))
    prompts = [make_prompt(f"Request {n}", chat=True) for n in range(20)]
    with pytest.raises(Rejected, match="at most 2 of 20"):
        ask(*prompts, retries=0, max_failure_share=0.1)
    assert 3 <= len(server.asked) <= 4  # the one that may be under way when the third fails


@pytest.mark.parametrize(("status", "cure"), [(400, "base_url"), (401, "api_key_env"), (404, "/v1")])
def test_a_refusal_is_not_tried_again_and_says_what_to_change(server: Server, ask: Ask, status: int, cure: str) -> None:
    server.replies((status, {}, b'{"error": "you sent: Who is that?"}'))
    with pytest.raises(Rejected, match="endpoint-refused") as refusal:
        ask(api_key_env="KEY")
    assert f"HTTP {status}" in str(refusal.value) and cure in refusal.value.fix
    assert "Who is that" not in str(refusal.value) and "sesame" not in str(refusal.value)
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed_with_the_key(server: Server, ask: Ask) -> None:
    server.replies((307, {"Location": f"{server.url}/elsewhere"}, b""))
    with pytest.raises(Rejected, match="redirect"):
        ask(api_key_env="KEY")
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"]


def test_nobody_at_the_address_is_a_counted_failure(ask: Ask) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Rejected, match="ConnectionRefusedError"):
        ask(base_url=f"http://127.0.0.1:{port}/v1", retries=0)


@pytest.mark.parametrize("variable", ["NO_SUCH_KEY", "BAD_KEY"])
def test_a_key_that_is_not_there_or_unusable_is_refused_before_any_request(
    server: Server, ask: Ask, variable: str
) -> None:
    with pytest.raises(Rejected, match="reference-invalid") as refusal:
        ask(api_key_env=variable)
    assert variable in str(refusal.value) and "ses" not in refusal.value.got
    assert server.asked == []


def test_answers_are_kept_and_not_asked_for_twice(server: Server, ask: Ask, tmp_path: Path) -> None:
    first = ask(CHAT, samples=3, store=GenerationStore(tmp_path))
    again = ask(CHAT, samples=3, store=GenerationStore(tmp_path))
    assert first == again
    assert len(server.asked) == 3
    ask(CHAT, samples=3, seed=1, store=GenerationStore(tmp_path))
    assert len(server.asked) == 6


def test_answers_that_came_before_a_failure_are_kept(server: Server, ask: Ask, tmp_path: Path) -> None:
    server.replies(chat_reply("one"), chat_reply("two"), (401, {}, b""), chat_reply("three"))
    with pytest.raises(Rejected, match="endpoint-refused"):
        ask(CHAT, samples=3, store=GenerationStore(tmp_path))
    (drawn,) = ask(CHAT, samples=3, store=GenerationStore(tmp_path))
    assert [one.text for one in drawn] == ["one", "two", "three"]
    assert len(server.asked) == 4


def test_the_key_is_in_no_file(server: Server, ask: Ask, tmp_path: Path) -> None:
    ask(CHAT, api_key_env="KEY", store=GenerationStore(tmp_path))
    assert all(b"sesame" not in path.read_bytes() for path in tmp_path.iterdir())


def test_half_a_surrogate_pair_is_no_answer(server: Server, ask: Ask, tmp_path: Path) -> None:
    server.replies((200, {}, b'{"choices": [{"message": {"content": "\\ud800"}, "finish_reason": "stop"}]}'))
    with pytest.raises(Rejected, match="no JSON object"):
        ask(CHAT, retries=0, store=GenerationStore(tmp_path))


def test_a_stopped_run_starts_no_further_request(
    server: Server, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(self: GenerationStore, values: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GenerationStore, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(CHAT, samples=50, store=GenerationStore(tmp_path))
    assert len(server.asked) < 10
