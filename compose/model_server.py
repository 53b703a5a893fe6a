"""Requests to an OpenAI-compatible server: JSON out, JSON in, bounded in time and size, repeated when that can help.

References and judges ask through it; errors name the setting that is theirs (`reference`, `judge`).
"""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from email.message import Message
from typing import IO, Annotated, Any, TypeVar

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass as settings_dataclass

from compose import progress
from compose.digest import canonical_json
from compose.errors import Rejected
from compose.parse import strict_json
from compose.records import SETTINGS

MAX_BODY_BYTES = 16 * 2**20
MAX_PAUSE_S = 60.0
READ_BYTES = 2**16
TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed."""

Url = Annotated[str, StringConstraints(pattern=r"\Ahttps?://[A-Za-z0-9.:\[\]_-]+(/[^\s?#@]*)?\z")]
"""No user name, query or fragment: an address is written into every record, so it may hold no secret."""
Variable = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\z")]
"""Name of an environment variable."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

Json = dict[str, Any]
Job = TypeVar("Job")
Answer = TypeVar("Answer")


@settings_dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Server:
    """Settings of a model behind a server.

    Args:
        base_url: Address up to and with the version, as in `http://localhost:8000/v1`.
        model: The model's name on that server.
        api_key_env: Environment variable that holds the key; None when the server wants none.
        timeout_s: The longest that one try may take.
        retries: Repetitions of a failed request.
        backoff_s: The first pause between tries; it doubles each time.
        concurrency: Requests under way at a time.
    """

    base_url: Url
    model: Text
    api_key_env: Variable | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    backoff_s: Annotated[float, Field(ge=0)] = 1.0
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4

    def url(self, path: str) -> str:
        """Return the address of one of the server's interfaces."""
        return f"{self.base_url.rstrip('/')}/{path}"


class RequestFailed(Exception):
    """A request that brought no usable answer, though another try might."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a failed request is repeated, and after which pauses.

    Args:
        retries: Repetitions after the first try.
        backoff_s: The first pause; each further one is twice as long, up to a minute. A server's own wish
            (Retry-After) is followed instead, up to a minute too.
        sleep: Who waits.
    """

    retries: int
    backoff_s: float
    sleep: Callable[[float], object]

    def run(self, request: Callable[[], Json]) -> Json:
        """Return what the request brings, in the end.

        Raises:
            RequestFailed: When the last repetition failed too.
        """
        for attempt in range(self.retries):
            try:
                return request()
            except RequestFailed as failure:
                pause_s = self.backoff_s * 2**attempt if failure.retry_after_s is None else failure.retry_after_s
                self.sleep(min(pause_s, MAX_PAUSE_S))
        return request()


class Client:
    """Asks a server, several requests at a time, until it is answered or the run is over.

    Args:
        server: The server.
        setting: What the settings are called in errors.
        code: Code of the error about the key.
        sleep: Who waits between tries; None waits until the run is stopped at most.
        environment: Where the key is looked up.

    Raises:
        Rejected: `code`, when the key's variable is not set, or holds what no header can carry.
    """

    def __init__(
        self,
        server: Server,
        *,
        setting: str,
        code: str,
        sleep: Callable[[float], object] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._server = server
        self._setting = setting
        self._stopping = threading.Event()
        waiter = self._stopping.wait if sleep is None else sleep
        self._retry = Retry(retries=server.retries, backoff_s=server.backoff_s, sleep=waiter)
        self._headers = _key_headers(server.api_key_env, environment, setting=setting, code=code)

    def choice(self, url: str, payload: Json) -> Json:
        """Return the first choice of the answer to one request, tried as often as the settings say.

        Raises:
            RequestFailed: When the last repetition failed too.
            Rejected: `endpoint-refused` for a refusal that would come again.
        """

        def once() -> Json:
            if self._stopping.is_set():
                raise CancelledError
            return _first_choice(_post_json(url, payload, self._headers, self._server.timeout_s, self._setting))

        return self._retry.run(once)

    def each(
        self, jobs: Sequence[Job], ask: Callable[[Job], Answer], label: str, *, quiet: bool = False
    ) -> Generator[tuple[Job, Answer | RequestFailed]]:
        """Yield every job with its answer, or with why there is none, as they come.

        Nobody starts another try once the caller has seen enough, or was stopped.
        """
        self._stopping.clear()
        pool = ThreadPoolExecutor(max_workers=self._server.concurrency)
        try:
            asked = {pool.submit(ask, job): job for job in jobs}
            with progress.bar(len(jobs), label, unit="text", quiet=quiet) as bar:
                for future in as_completed(asked):
                    try:
                        answer: Answer | RequestFailed = future.result()
                    except RequestFailed as failure:
                        answer = failure
                    yield asked[future], answer
                    bar.update(1)
        finally:
            self._stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: urllib would turn the POST into a GET and send the key along to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Return None, which makes the redirect an HTTPError."""


_OPENER = urllib.request.build_opener(_NoRedirects())


def _post_json(url: str, payload: Json, headers: Mapping[str, str], timeout_s: float, setting: str) -> Json:
    """Return the JSON object that a server answers to a JSON object.

    Error messages hold neither the payload nor the body: both may be offensive, and headers hold the key.

    Raises:
        RequestFailed: For a server that cannot be reached, is busy or slow, or answers no JSON object.
        Rejected: `endpoint-refused` for a status that would come again.
    """
    request = urllib.request.Request(
        url,
        data=canonical_json(payload),
        headers={"Content-Type": "application/json", **headers},
        method="POST",
    )
    deadline = time.monotonic() + timeout_s
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            body = _read(response, deadline)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused_or_failed(url, error, setting) from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError that wraps the true one
        cause = getattr(error, "reason", error)
        slow = isinstance(cause, TimeoutError)
        raise RequestFailed("no answer in time" if slow else f"no connection ({type(cause).__name__})") from None
    try:
        return strict_json(body, subject=url, code="endpoint-failed", max_bytes=MAX_BODY_BYTES)
    except Rejected:
        raise RequestFailed("a body that is no JSON object") from None


def _first_choice(body: Json) -> Json:
    """Return the first choice of an answer.

    Raises:
        RequestFailed: When there is none, or none with text that stopped for a usual reason.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise RequestFailed("an answer without choices")
    choice: Json = choices[0]
    if choice.get("finish_reason") not in (None, "stop", "length"):
        raise RequestFailed("an answer that was cut off by the server")
    choice_text(choice)
    return choice


def choice_text(choice: Json) -> str:
    """Return the text of a choice, of the chat or of the completions interface.

    Raises:
        RequestFailed: When it has none.
    """
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if not isinstance(text, str):
        raise RequestFailed("a choice without text")
    return text


def _key_headers(variable: str | None, environment: Mapping[str, str], *, setting: str, code: str) -> dict[str, str]:
    """Return the headers that carry the key, which no message ever shows.

    Raises:
        Rejected: `code`, when the variable is not set, or holds what no header can carry.
    """
    if variable is None:
        return {}
    key = environment.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise Rejected(
            code,
            subject=f"environment variable {variable}",
            expected="the key of the model server, in plain ASCII",
            got="a value with characters that no header can carry" if key else "no value",
            fix=f"export {variable}=..., or set {setting}.api_key_env=null for a server without a key",
        )
    return {"Authorization": f"Bearer {key}"}


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Return the body, however slowly it trickles, up to the deadline and the cap on its size."""
    body = bytearray()
    while chunk := response.read1(READ_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RequestFailed("a body that is too large")
        if time.monotonic() > deadline:
            raise RequestFailed("no answer in time")
    if response.length:  # what the header promised and did not come
        raise RequestFailed("a body that broke off")
    return bytes(body)


def _refused_or_failed(url: str, error: urllib.error.HTTPError, setting: str) -> RequestFailed | Rejected:
    """Return what an HTTP status means: try again, or give up."""
    if error.code >= 500 or error.code in TRANSIENT_STATUS:
        return RequestFailed(f"HTTP {error.code}", _retry_after_s(error.headers))
    cures = {
        401: f"set the environment variable named in {setting}.api_key_env to a valid key",
        403: "ask the server's owner for access, or use another key",
        404: f"correct {setting}.base_url (it usually ends in /v1) and {setting}.model",
    }
    cure = f"correct {setting}.base_url and {setting}.model, and ask in a way that the server offers"
    if 300 <= error.code < 400:
        cure = f"give the address that the redirect leads to as {setting}.base_url"
    return Rejected(
        "endpoint-refused",
        subject=url,
        expected="an answer",
        got=f"HTTP {error.code}",
        fix=cures.get(error.code, cure),
    )


def _retry_after_s(headers: Message) -> float | None:
    """Return the pause a server asks for in seconds; a date is not worth parsing, the usual pause will do."""
    value = str(headers.get("Retry-After", "")).strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else None
