"""Answers written down before: by people, by a model that is not at hand, or the shipped refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from compose.assets import Asset, fetch
from compose.digest import of_bytes
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.prompts import Prompt
from compose.parse import strict_json
from compose.records import SETTINGS
from compose.training.completions import Response
from compose.training.references.reference import Reference, ReferenceContext

REFUSALS = "refusals.jsonl"
ANY_PROMPT = "*"
MAX_FILE_BYTES = 512 * 2**20
MAX_LINE_BYTES = 2**20

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Recorded:
    """Settings of recorded answers.

    Args:
        kind: Name in the registry.
        asset: A JSONL file; None for the polite refusals that ship with compose.
    """

    kind: Literal["recorded"] = "recorded"
    asset: Asset | None = None

    def make(self, context: ReferenceContext) -> Reference:
        """Return the reference."""
        return RecordedReference(self)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Line:
    """One line of the file: whose answers these are, and the answers.

    Args:
        prompt_id: Id of the prompt.
        prompt: Its text, instead of the id; `*` holds for every prompt that has no line of its own.
        responses: The answers, best first.
        ended: Whether the answers are complete. None takes answers to chat prompts for complete ones, and
            continuations of running text for pieces that could go on.
    """

    prompt_id: Text | None = None
    prompt: Text | None = None
    responses: Annotated[tuple[Text, ...], Field(min_length=1)]
    ended: bool | None = None


_LINE = TypeAdapter(Line)


class RecordedReference:
    """The answers of a file. A default list (`*`) is begun at a place that follows from the prompt's id."""

    def __init__(self, settings: Recorded) -> None:
        subject, data = _read(settings)
        self._lines = _by_prompt(data, subject)
        self.name = f"recorded {of_bytes(data).removeprefix('sha256:')[:8]}"

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return up to `samples` answers to each prompt; none where the file has none. Nothing is drawn."""
        return [self._answers(prompt, samples) for prompt in prompts]

    def _answers(self, prompt: Prompt, samples: int) -> list[Response]:
        """Return the answers to one prompt."""
        own = self._lines.get(("id", prompt.id)) or self._lines.get(("text", prompt.text.strip()))
        line = own or self._lines.get(("text", ANY_PROMPT))
        if line is None:
            return []
        first = 0 if own else int(hashlib.sha256(prompt.id.encode()).hexdigest(), 16) % len(line.responses)
        texts = (line.responses[first:] + line.responses[:first])[:samples]
        ended = prompt.chat if line.ended is None else line.ended
        return [Response(text, None, ended) for text in texts]


def _read(settings: Recorded) -> tuple[str, bytes]:
    """Return the name and the content of the file.

    Raises:
        Rejected: `responses-invalid` for a folder or a file too large, and what fetching raises.
    """
    if settings.asset is None:
        return REFUSALS, resources.files("compose.training.data").joinpath(REFUSALS).read_bytes()
    path = fetch(settings.asset)
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise _invalid(str(path), "a folder, or a file that is too large")
    return str(path), path.read_bytes()


def _by_prompt(data: bytes, subject: str) -> Mapping[tuple[str, str], Line]:
    """Return the lines of the file under the prompts they answer.

    Raises:
        Rejected: `responses-invalid`, naming the line. What it holds is not shown: it may be offensive.
    """
    found: dict[tuple[str, str], Line] = {}
    for number, content in enumerate(data.split(b"\n"), start=1):
        if not content.strip():
            continue
        place = f"{subject}, line {number}"
        values = strict_json(content, subject=place, code="responses-invalid", max_bytes=MAX_LINE_BYTES)
        try:
            line = _LINE.validate_python(values)
        except ValidationError as error:
            faults = "; ".join(".".join(map(str, e["loc"])) + f": {e['msg']}" for e in error.errors())
            raise _invalid(place, faults) from None
        if (line.prompt_id is None) == (line.prompt is None):
            raise _invalid(place, "both prompt_id and prompt, or neither")
        key = ("text", line.prompt) if line.prompt is not None else ("id", str(line.prompt_id))
        if key in found:
            raise _invalid(place, "a prompt that an earlier line has too")
        found[key] = line
    if not found:
        raise _invalid(subject, "no line at all")
    return found


def _invalid(subject: str, got: str) -> Rejected:
    """Return the error about a file of answers."""
    return Rejected(
        "responses-invalid",
        subject=subject,
        expected='lines such as {"prompt": "...", "responses": ["..."]}, a prompt once, "*" for all others',
        got=got,
        fix="correct the file",
    )
