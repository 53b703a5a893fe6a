"""A model behind an OpenAI-compatible server (vLLM, llama.cpp, a vendor): only its text is seen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.digest import of_json
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.prompts import Prompt
from compose.evaluate.sampling import row_seed
from compose.model_server import Client, Json, Server, Text, choice_text
from compose.records import SETTINGS
from compose.training.completions import SEED_PURPOSE, Response
from compose.training.references.reference import Reference, ReferenceContext
from compose.training.sampling_cache import GenerationStore, JsonValue


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Endpoint(Server):
    """Settings of a model server.

    Args:
        kind: Name in the registry.
        instruction: What the model is told besides the prompt; None for nothing.
        running_text: How running text is put to it: to `/completions`, or to the chat with `continue_with`.
        continue_with: The request that makes a chat model continue a text.
        max_failure_share: Share of requests that may stay without an answer; more stop the run.
    """

    kind: Literal["endpoint"] = "endpoint"
    instruction: Text | None = None
    running_text: Literal["completions", "chat"] = "completions"
    continue_with: Text = "Continue this text. Reply with the continuation alone."
    max_failure_share: Annotated[float, Field(ge=0, le=1)] = 0.05

    def make(self, context: ReferenceContext) -> Reference:
        """Return the reference."""
        return EndpointReference(self, context.store)


class _Job(NamedTuple):
    """One answer that is wanted: its place, the request for it, and whether it can be a complete text."""

    place: tuple[int, int]
    key: str
    url: str
    payload: Json
    may_end: bool


class EndpointReference:
    """The server's answers, kept as they come, so that what was paid for once is not asked for again.

    Args:
        settings: The server.
        store: Where answers are kept; None keeps nothing.
        sleep: Who waits between tries; None waits until the run is stopped at most.
        environment: Where the key is looked up.

    Raises:
        Rejected: `reference-invalid` when the key's variable is not set, or holds what no header can carry.
    """

    def __init__(
        self,
        settings: Endpoint,
        store: GenerationStore | None = None,
        *,
        sleep: Callable[[float], object] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.settings = settings
        self.store = store
        self.name = f"{settings.model} at {settings.base_url}"
        self._client = Client(
            settings, setting="reference", code="reference-invalid", sleep=sleep, environment=environment
        )

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return up to `samples` answers to each prompt, without those that failed.

        Raises:
            Rejected: `endpoint-refused` at the first refusal that would come again, `endpoint-failed` once
                more requests failed than `max_failure_share` allows.
        """
        jobs = [
            self._job((row, sample), prompt, sampling, row_seed(seed, prompt.id, sample, SEED_PURPOSE))
            for row, prompt in enumerate(prompts)
            for sample in range(samples)
        ]
        answers = {job.place: known for job in jobs if (known := self._stored(job.key)) is not None}
        missing = [job for job in jobs if job.place not in answers]
        if missing:
            answers |= self._ask_all(missing, allowed=int(self.settings.max_failure_share * len(jobs)))
        return [
            [answers[row, sample] for sample in range(samples) if (row, sample) in answers]
            for row in range(len(prompts))
        ]

    def _job(self, place: tuple[int, int], prompt: Prompt, sampling: Sampling, seed: int) -> _Job:
        """Return the request for one answer."""
        told = self.settings
        payload: Json = {
            "model": told.model,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "n": 1,
            "seed": seed >> 32,  # 31 bits: some servers take no larger one
        }
        chat = prompt.chat or told.running_text == "chat"
        if chat:
            words = prompt.text if prompt.chat else f"{told.continue_with}\n\n{prompt.text}"
            system = [{"role": "system", "content": told.instruction}] if told.instruction else []
            payload["messages"] = [*system, {"role": "user", "content": words}]
        else:
            payload["prompt"] = f"{told.instruction}\n\n{prompt.text}" if told.instruction else prompt.text
        url = told.url("chat/completions" if chat else "completions")
        # A chat model that was asked to continue a text stops after its reply, which does not end the text.
        may_end = prompt.chat or not chat
        return _Job(place, of_json(["endpoint", url, payload]), url, payload, may_end)

    def _stored(self, key: str) -> Response | None:
        """Return an answer of an earlier run."""
        value = None if self.store is None else self.store.get(key)
        if not isinstance(value, dict):
            return None
        text, ended = value.get("text"), value.get("ended")
        return Response(text, None, ended) if isinstance(text, str) and isinstance(ended, bool) else None

    def _ask_all(self, jobs: Sequence[_Job], allowed: int) -> dict[tuple[int, int], Response]:
        """Return the answers that came; every one is in the store before the next is waited for."""
        answers: dict[tuple[int, int], Response] = {}
        failures: Counter[str] = Counter()
        with closing(self._client.each(jobs, self._ask, f"answers of {self.settings.model}")) as coming:
            for job, answer in coming:
                if isinstance(answer, Response):
                    answers[job.place] = answer
                    self._keep(job.key, answer)
                    continue
                failures[answer.reason] += 1
                if failures.total() > allowed:
                    raise self._failed(failures, len(jobs), allowed)
        return answers

    def _ask(self, job: _Job) -> Response:
        """Return the answer to one request."""
        choice = self._client.choice(job.url, job.payload)
        return Response(choice_text(choice), None, job.may_end and choice.get("finish_reason") == "stop")

    def _keep(self, key: str, answer: Response) -> None:
        """Put an answer into the store, if there is one."""
        if self.store is not None:
            value: dict[str, JsonValue] = {"text": answer.text, "ended": answer.ended}
            self.store.put({key: value})

    def _failed(self, failures: Counter[str], asked: int, allowed: int) -> Rejected:
        """Return the error for too many failures."""
        reasons = ", ".join(f"{count} x {reason}" for reason, count in failures.most_common())
        return Rejected(
            "endpoint-failed",
            subject=self.name,
            expected=f"at most {allowed} of {asked} requests without an answer",
            got=f"{failures.total()} so far, after {self.settings.retries} repetitions each: {reasons}",
            fix="see that the server runs, raise reference.timeout_s or reference.retries, "
            "or allow a larger reference.max_failure_share; answers that came are kept",
        )
