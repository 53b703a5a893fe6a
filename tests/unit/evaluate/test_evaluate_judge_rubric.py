"""A judge behind a server, against a real HTTP server on this machine."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from compose.errors import Rejected
from compose.evaluate.judges import Judged, judge_all
from compose.evaluate.judges.adapters.rubric import Rubric, RubricJudge, parse_verdict
from tests.model_server import ModelServer, Reply, chat_reply, serving


class Server(ModelServer):
    """A server that answers by a function of the reply that is to be judged: (status, text); status 0 hangs."""

    def __init__(self) -> None:
        super().__init__(self._judged)
        self.answer: Callable[[str], tuple[int, Any]] = lambda reply: (200, "VERDICT: 1")

    def _judged(self, number: int, body: dict[str, Any]) -> Reply:
        status, text = self.answer(json.loads(body["messages"][-1]["content"])["reply"])
        return status, {}, chat_reply(text)[2]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    with serving(made):
        yield made


@pytest.fixture
def make(server: Server) -> Callable[..., RubricJudge]:
    """Return a function from settings to a judge that does not wait between tries."""

    def judge(**changes: Any) -> RubricJudge:
        fields: dict[str, Any] = {"base_url": server.url, "model": "m", "rubric": "How rude is it?", "retries": 0}
        return RubricJudge(Rubric(**{**fields, **changes}), sleep=lambda _: None, environment={"KEY": "sesame"})

    return judge


Make = Callable[..., RubricJudge]


def test_verdicts_become_scores_in_the_order_of_the_completions(server: Server, make: Make) -> None:
    server.answer = lambda reply: (200, f"It says {reply}.\nVERDICT: {reply}")
    assert make().score([Judged("p", text) for text in ("1", "2", "5", "3.5")]) == [0.0, 0.25, 1.0, 0.625]


def test_the_judge_is_told_the_rubric_the_scale_and_both_texts_apart(server: Server, make: Make) -> None:
    make(lowest=0, highest=10, api_key_env="KEY").score([Judged('say "VERDICT: 0"', "yes")])
    ((_, body, headers),) = server.asked
    system, user = body["messages"]
    assert system["content"].startswith("How rude is it?")
    assert "from 0 (safest) to 10 (least safe)" in system["content"]
    assert json.loads(user["content"]) == {"request": 'say "VERDICT: 0"', "reply": "yes"}
    assert body["temperature"] == 0
    assert headers["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, ""), "an answer without a verdict on the scale"),
        ((200, "I would rather not say."), "an answer without a verdict on the scale"),
        ((200, "VERDICT: 7"), "an answer without a verdict on the scale"),
        ((200, None), "a choice without text"),
        ((503, "VERDICT: 1"), "HTTP 503"),
        ((0, ""), "no answer in time"),
    ],
)
def test_what_is_no_verdict_is_unjudged_and_counted_never_a_zero(
    server: Server, make: Make, answer: tuple[int, Any], reason: str
) -> None:
    server.answer = lambda reply: answer if reply == "odd" else (200, "VERDICT: 2")
    judge = make(timeout_s=0.3)
    assert judge.score([Judged("p", "odd"), Judged("p", "even")]) == [None, 0.25]
    assert judge.failures == {reason: 1}


def test_a_server_that_is_down_judges_nothing_and_a_measurement_stops(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        judge = make(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=2)
        assert judge.score([Judged("p", "x"), Judged("p", "y")]) == [None, None]
        assert judge.failures == {"no connection (ConnectionRefusedError)": 2}
        with pytest.raises(Rejected, match="judge-silent"):
            judge_all(judge, [Judged("p", "x")], subject="a test")


def test_a_busy_server_is_asked_again(server: Server, make: Make) -> None:
    server.answer = lambda reply: (503, "") if len(server.asked) < 3 else (200, "VERDICT: 5")
    assert make(retries=2).score([Judged("p", "x")]) == [1.0]
    assert len(server.asked) == 3


def test_a_server_that_never_gives_a_verdict_is_a_silent_judge(server: Server, make: Make) -> None:
    server.answer = lambda reply: (200, "")
    with pytest.raises(Rejected, match="judge-silent"):
        judge_all(make(), [Judged("p", "x"), Judged("p", "y")], subject="a test")


def test_a_refusal_that_would_come_again_stops_and_names_the_judges_setting(server: Server, make: Make) -> None:
    server.answer = lambda reply: (401, "")
    with pytest.raises(Rejected, match="endpoint-refused") as caught:
        make().score([Judged("p", "x")])
    assert "judge.api_key_env" in caught.value.fix


def test_a_key_that_is_not_there_is_refused_before_any_request(server: Server, make: Make) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        make(api_key_env="OTHER")
    assert server.asked == []


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("VERDICT: 3", 3.0),
        ("**Verdict: 3**", 3.0),
        ("So.\nverdict: 2.5\n", 2.5),
        ("VERDICT: 3\nVERDICT: 3", 3.0),
        ("VERDICT: 3\nVERDICT: 4", None),
        ("The verdict: 3 is what it asks me to write", None),
        ("VERDICT: 5.5", None),
        ("VERDICT: -1", None),
        ("VERDICT: three", None),
    ],
)
def test_a_verdict_is_a_line_of_its_own_with_one_number_on_the_scale(text: str, verdict: float | None) -> None:
    assert parse_verdict(text, 1, 5) == verdict


def test_a_scale_that_runs_backwards_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="highest must be above lowest"):
        make(lowest=5, highest=1)


def test_another_rubric_is_another_version(make: Make) -> None:
    assert make().version != make(rubric="How kind is it?").version
    assert "sha256:" in make().version
