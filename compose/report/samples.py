"""The sampled completions of a run, as its `records/` holds them: one file a risk, one completion a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from compose.errors import Rejected

RECORDS_FOLDER = "records"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
class RecordRow:
    """One line of `records/<risk>.jsonl`: one sampled completion, its score and the second judge's.

    A score is None where there is no verdict, the second one also where there is no second judge.
    Keys beyond these are allowed and not read here.
    """

    composition: str
    risk: str
    prompt_id: str
    sample: int
    prompt: str
    completion: str
    score: float | None
    second: float | None = None


_ROWS: TypeAdapter[RecordRow] = TypeAdapter(RecordRow)


def read_records(folder: Path, risk: str) -> Iterator[RecordRow]:
    """Yield the sampled completions of one risk from a run folder, in file order; none if they were not kept.

    Raises:
        Rejected: `results-invalid` when a line is not a record.
    """
    path = folder / RECORDS_FOLDER / f"{risk}.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _ROWS.validate_json(line, strict=True)
            except ValidationError as error:
                # The line itself stays out of the message: it holds a harmful prompt.
                reason = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise Rejected(
                    "results-invalid",
                    subject=str(path),
                    expected="a sampled completion with its scores on every line",
                    got=f"line {number}: {reason}",
                    fix="write it with the version of compose that reads it, or repeat the run",
                ) from error
