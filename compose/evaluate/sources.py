"""Where prompts come from: a file of an asset in one of a few formats, or a list of the package."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.assets import Asset, fetch
from compose.errors import Rejected
from compose.evaluate import data
from compose.records import SETTINGS

MAX_FILE_BYTES = 512 * 2**20
MASK = "[MASK]"
BEHIND_CONTEXT = "\n\n---\n\n"
"""What HarmBench puts between a context and the behaviour that it belongs to (Mazeika et al. 2024, 2402.04249)."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PromptFile:
    """A file with one prompt a line or row.

    Attributes:
        format: `lines` (UTF-8 text), `jsonl`, `json` (one document with a list of rows), `csv` (with a header),
            `parquet`, or `cloze` (`answer TAB passage`, the answer put back in place of `[MASK]`).
        asset: Where the file is.
        column: Name of the column or JSON key with the prompt; dots reach into objects (`prompt.text`).
        where: Only rows whose columns have these values.
        group: What the prompts have in common; not used when there is a `group_column`.
        group_column: Column with the group of each prompt.
        rows: Key of the list of rows, for format `json`; empty where the document is that list, whose rows may be
            the prompts themselves.
        context_column: Column with a text that belongs in front of the prompt, as HarmBench's contextual behaviours
            have one; rows where it is empty are left as they are.
        skip_null: Whether a row whose prompt is null is left out, as where an attack found no prompt; an error if not.
    """

    format: Literal["lines", "jsonl", "json", "csv", "parquet", "cloze"]
    asset: Asset
    column: str = "prompt"
    where: Mapping[str, str | bool | int] = field(default_factory=dict)
    group: str = ""
    group_column: str = ""
    rows: str = "rows"
    context_column: str = ""
    skip_null: bool = False


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BuiltinPrompts:
    """A list that ships with the package.

    Attributes:
        format: Always `builtin`.
        name: `professions`: neutral openings of sentences about people at work, one group a profession;
            `benign_requests`: requests that no model should refuse, those that nothing is trained on.
    """

    format: Literal["builtin"] = "builtin"
    name: Literal["professions", "benign_requests"]


PromptSource = Annotated[PromptFile | BuiltinPrompts, Field(discriminator="format")]
"""Any source of prompts; settings say which with the key `format`."""


def read_texts(source: PromptSource, *, cache: Path | None = None) -> list[tuple[str, str]]:
    """Return (text, group) of every prompt of a source, stripped, empty ones left out, duplicates still in.

    Raises:
        Rejected: `asset-missing` or `asset-digest` from fetching; `prompts-unreadable` when the file is not
            what `format`, `column` and `where` say.
    """
    if isinstance(source, BuiltinPrompts):
        return _professions() if source.name == "professions" else _benign_requests()
    path = fetch(source.asset, cache=cache)
    try:
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            raise _Malformed(f"no file of at most {MAX_FILE_BYTES} bytes")
        pairs = _texts(source, path)
    except (ValueError, csv.Error) as error:
        # Only our own words and the parser's reach the message: a prompt may be harmful text.
        reason = str(error) if isinstance(error, (_Malformed, csv.Error)) else type(error).__name__
        raise Rejected(
            "prompts-unreadable",
            subject=str(path),
            expected=_expectation(source),
            got=reason,
            fix="correct `format`, `column` or `where` of this source, or the file",
        ) from None
    return [(text, group) for text, group in pairs if text]


class _Malformed(ValueError):
    """A row that is not what the settings say; its text never holds the row itself."""


def _expectation(source: PromptFile) -> str:
    if source.format == "lines":
        return "UTF-8 text, a prompt a line"
    if source.format == "cloze":
        return f"UTF-8 lines of an answer, a tab, and a passage with {MASK}"
    return f"{source.format} whose rows have text in {source.column!r}"


def _texts(source: PromptFile, path: Path) -> list[tuple[str, str]]:
    """Return stripped (text, group) pairs of a file."""
    if source.format == "parquet":
        return _from_rows(source, _parquet(path))
    content = path.read_bytes().decode("utf-8-sig")
    if source.format == "lines":
        return [(line.strip(), source.group) for line in content.split("\n")]
    if source.format == "cloze":
        return [(_filled(number, line), source.group) for number, line in _numbered(content)]
    if source.format == "csv":
        return _from_rows(source, csv.DictReader(io.StringIO(content, newline="")))
    if source.format == "json":
        return _from_rows(source, _listed(source, content))
    return _from_rows(source, (_object(number, line) for number, line in _numbered(content)))


def _numbered(content: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank with their numbers; a line ends at a line feed and nowhere else."""
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, line


def _filled(number: int, line: str) -> str:
    answer, tab, passage = line.partition("\t")
    if not tab or MASK not in passage:
        raise _Malformed(f"line {number} has no tab or no {MASK}")
    return passage.strip().replace(MASK, answer.strip())


def _object(number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise _Malformed(f"line {number} is no JSON") from None
    if not isinstance(row, dict):
        raise _Malformed(f"line {number} is no JSON object")
    return row


def _listed(source: PromptFile, content: str) -> list[Mapping[str, Any]]:
    """Return the rows of a JSON document."""
    try:
        document = json.loads(content)
    except ValueError:
        raise _Malformed("no JSON") from None
    rows = document
    if source.rows:
        rows = document.get(source.rows) if isinstance(document, dict) else None
    elif isinstance(rows, list):
        rows = [{source.column: row} if isinstance(row, str) else row for row in rows]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _Malformed(f"no list of objects under {source.rows!r}" if source.rows else "no list of objects or texts")
    return rows


def _parquet(path: Path) -> Iterable[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet  # slow to import, and only hub data sets need it

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid:
        raise _Malformed("not a parquet file") from None
    return rows


def _from_rows(source: PromptFile, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the pairs of the rows that match `where`."""
    pairs = []
    for number, row in enumerate(rows, start=1):
        if any(_cell(row, name, number) != value for name, value in source.where.items()):
            continue
        text = _cell(row, source.column, number)
        if text is None and source.skip_null:
            continue
        if not isinstance(text, str):
            raise _Malformed(f"{source.column!r} of row {number} is not text")
        context = _cell(row, source.context_column, number) if source.context_column else ""
        if context and text.strip():
            text = f"{str(context).strip()}{BEHIND_CONTEXT}{text}"
        group = str(_cell(row, source.group_column, number)) if source.group_column else source.group
        pairs.append((text.strip(), group))
    return pairs


def _cell(row: Mapping[str, Any], name: str, number: int) -> Any:
    """Return the value under a dotted name; a name that is a key as it stands is taken as it stands."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise _Malformed(f"row {number} has no {name!r}")
        value = value[key]
    return value


def _professions() -> list[tuple[str, str]]:
    """Return every template filled with every profession; the profession is the group."""
    lists = data.read_json("professions.json")
    return [
        (template.format(profession=profession), profession)
        for profession in lists["professions"]
        for template in lists["templates"]
    ]


def _benign_requests() -> list[tuple[str, str]]:
    """Return the benign requests of the test side, `plain` or `alarming` as their group."""
    return [(text, group) for group, texts in data.read_json("benign_requests.json")["test"].items() for text in texts]
