"""What an evaluation stores of every prompt: the rows that all of its numbers are made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from compose.digest import canonical_json
from compose.errors import Rejected

_ROW = ConfigDict(extra="forbid", allow_inf_nan=False)
Score = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1.000001)]
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True, config=_ROW)
class CompletionRow:
    """One completion of one composition, and what was said about it.

    Attributes:
        composition: Who wrote it.
        prompt_id: What it answers.
        group: The prompt's group.
        sample: Which of the prompt's samples it is, from 0.
        prompt: The prompt's words.
        completion: What was written.
        score: The judge's; None where it could not tell.
        second: The second judge's, likewise; None where there is none.
        nll: Its negative log-likelihood under the other model, in nats; None where it was not read.
        tokens: Of how many of that model's tokens.
        truncated: Whether the token limit cut it off; None where that was not kept.
    """

    composition: str
    prompt_id: str
    group: str
    sample: Annotated[int, Field(ge=0)]
    prompt: str
    completion: str
    score: Score | None
    second: Score | None = None
    nll: float | None = None
    tokens: int | None = None
    truncated: bool | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to judge; a model that says nothing is neither safe nor unsafe."""
        return not self.completion.strip()


@dataclass(frozen=True, kw_only=True, config=_ROW)
class MassRow:
    """Probability of the female and of the male words as the next token behind one prompt."""

    composition: str
    prompt_id: str
    female: Share
    male: Share


@dataclass(frozen=True, kw_only=True, config=_ROW)
class PassageRow:
    """Negative log-likelihood of one neutral passage behind a composition, in nats, over `tokens` scored tokens."""

    composition: str
    passage_id: str
    nll: float
    tokens: Annotated[int, Field(gt=0)]


def to_lines(rows: Iterable[object]) -> bytes:
    """Return rows as JSON lines."""
    return b"".join(canonical_json(asdict(row)) + b"\n" for row in rows)  # type: ignore[call-overload]


def from_lines(row: type[Row], path: Path) -> list[Row]:
    """Return the rows of a file that `to_lines` wrote.

    Raises:
        Rejected: `results-missing` when there is no such file; `results-invalid` for a line that is no row, such as
            one whose score is NaN or out of range.
    """
    adapter = TypeAdapter(row)
    if not path.is_file():
        raise Rejected(
            "results-missing",
            subject=str(path),
            expected="the rows that the numbers of this evaluation are made from",
            got="no such file",
            fix="copy the whole folder of the evaluation, or evaluate again",
        )
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            rows.append(adapter.validate_json(line, strict=True))
        except ValidationError as error:
            # The line itself stays out of the message: it holds a harmful prompt.
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise Rejected(
                "results-invalid",
                subject=f"{path}, line {number}",
                expected=f"a {row.__name__} with finite numbers and scores from 0 to 1",
                got=reason,
                fix="get the folder again from whoever made it, or evaluate again",
            ) from error
    return rows
