"""How generations read to a fixed other model: the negative log-likelihood of each, kept by content."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from compose import durable
from compose.base import Base, arithmetic, encode, load_base
from compose.base_spec import BaseSpec
from compose.digest import of_json
from compose.engine import ScoreRow, completion_logprobs, prefix_cache
from compose.errors import Rejected
from compose.evaluate.suites.record import Rows
from compose.evaluate.suites.rows import CompletionRow
from compose.progress import bar

MOST_PROMPT_TOKENS = 256
"""Of a longer prompt, the end is read: what is asked is how a continuation fits, not how well a prompt is known."""
ROWS_AT_ONCE = 32
Reading = tuple[float, int]
"""Negative log-likelihood in nats, and over how many tokens."""
_KEPT = TypeAdapter(list[Reading | None])


def read_by(spec: BaseSpec, base: Base, rows: Rows, store: Path) -> tuple[Rows, dict[str, str]]:
    """Return the rows with every prompt's first completion read by another model, and who that is.

    Raises:
        Rejected: `settings-invalid` when the other model is the measured base; what loading it raises.
    """
    scorer = load_base(spec, device=base.model.device)
    if scorer.fingerprint == base.fingerprint:
        raise Rejected(
            "settings-invalid",
            subject="scorer",
            expected="another model than the one that is measured: a model finds its own text likely",
            got=f"{scorer.name}, the same weights",
            fix="choose another, such as model@scorer=gemma3_270m, or scorer=null",
        )
    read = {part: _read_part(scorer, part, own, store) for part, own in rows.completions.items()}
    return replace(rows, completions=read), {"name": scorer.name, "fingerprint": scorer.fingerprint}


def _read_part(scorer: Base, part: str, rows: Sequence[CompletionRow], store: Path) -> list[CompletionRow]:
    """Return one part's rows with what was read."""
    asked = [place for place, row in enumerate(rows) if row.sample == 0 and not row.empty]
    texts = [(rows[place].prompt, rows[place].completion) for place in asked]
    key = of_json([scorer.fingerprint, *map(str, arithmetic(scorer)), MOST_PROMPT_TOKENS, texts])
    path = store / f"read-{key.removeprefix('sha256:')}.json"
    readings = _kept(path, len(texts))
    if readings is None:
        readings = _read(scorer, texts, f"read {part}")
        durable.write_json(path, readings)
    known = dict(zip(asked, readings, strict=True))
    return [
        row if (reading := known.get(place)) is None else replace(row, nll=reading[0], tokens=reading[1])
        for place, row in enumerate(rows)
    ]


def _read(scorer: Base, texts: Sequence[tuple[str, str]], label: str) -> list[Reading | None]:
    """Return how each (prompt, completion) reads; None where the completion has no token of this model's."""
    wanted: list[ScoreRow] = []
    places: list[int] = []
    for place, (prompt, completion) in enumerate(texts):
        ids = scorer.tokenizer(completion, add_special_tokens=False)["input_ids"]
        before = encode(scorer.tokenizer, prompt, chat=False)[-MOST_PROMPT_TOKENS:]
        if ids and before:
            wanted.append(ScoreRow(tuple(before), tuple(ids)))
            places.append(place)
    readings: list[Reading | None] = [None] * len(texts)
    cache = prefix_cache(scorer.model, [None])
    with bar(len(wanted), label, unit="text") as progress:
        for start in range(0, len(wanted), ROWS_AT_ONCE):
            piece = wanted[start : start + ROWS_AT_ONCE]
            for place, values in zip(
                places[start : start + ROWS_AT_ONCE], completion_logprobs(scorer.model, cache, piece), strict=True
            ):
                readings[place] = (-math.fsum(values.double().tolist()), len(values))
            progress.update(len(piece))
    return readings


def _kept(path: Path, n: int) -> list[Reading | None] | None:
    """Return kept readings; None when there are none or they are damaged, which costs one more reading."""
    try:
        readings = _KEPT.validate_python(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None
    return readings if len(readings) == n else None
