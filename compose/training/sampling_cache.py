"""Generations kept on the disk under the content that determines them, so that none is computed twice.

A run that was interrupted goes on where it was, and runs that share a base, prompts and seeds share their
samples.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from compose import progress
from compose.artifact import prefix_digest
from compose.base import Base, arithmetic, stop_ids
from compose.digest import canonical_json, of_json
from compose.durable import refused_by_disk
from compose.engine import Row, Sampling, generate, prefix_cache

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

SAMPLER_VERSION = 1
"""Counts changes of how noise turns into tokens: an older sampler drew other samples."""


class GenerationStore:
    """A folder of JSON lines that only ever grows: key, value and a checksum a line.

    Every store object appends to a file of its own, so processes that share the folder never write into each
    other's lines. A line that does not match its checksum (a torn last line, a bad disk) counts as absent and
    is computed again; `damaged` says how many there were.

    Args:
        folder: Where the files lie; made when the first value is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self._shard = folder / f"{os.getpid()}-{secrets.token_hex(6)}.jsonl"
        self._values: dict[str, JsonValue] | None = None

    def get(self, key: str) -> JsonValue:
        """Return the value of a key, None when there is none."""
        return self._loaded().get(key)

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Append the values, flushed to the disk before this returns.

        Raises:
            Rejected: `disk-full` or `read-only`, when the disk refuses.
        """
        if not values:
            return
        loaded = self._loaded()
        # The leading newline ends a line that an earlier, interrupted write of ours may have left torn.
        lines = b"\n" + b"".join(_line(key, value) for key, value in values.items())
        with refused_by_disk(self._shard):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._shard.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        loaded.update(values)

    def __len__(self) -> int:
        """Return how many values are held."""
        return len(self._loaded())

    def _loaded(self) -> dict[str, JsonValue]:
        """Return every sound value of the folder, read once."""
        if self._values is None:
            self._values = {}
            for shard in sorted(self.folder.glob("*.jsonl")):
                for line in shard.read_bytes().split(b"\n"):
                    self._take(line, self._values)
        return self._values

    def _take(self, line: bytes, values: dict[str, JsonValue]) -> None:
        """Add a line's value when the line is whole, else count it."""
        if not line.strip():
            return
        try:
            key, value, checksum = json.loads(line)
        except (ValueError, TypeError):
            self.damaged += 1
            return
        if not isinstance(key, str) or checksum != _checksum(key, value):
            self.damaged += 1
            return
        values[key] = value


def cached_generate(
    base: Base,
    prefixes: Sequence[Float[Tensor, "tokens dim"] | None],
    rows: Sequence[Row],
    sampling: Sampling,
    store: GenerationStore | None,
    *,
    batch_size: int = 128,
    label: str = "generating",
) -> list[tuple[int, ...]]:
    """Return the completion ids of each row, computing only those that the store does not hold.

    What is computed is kept batch by batch. Rows that ask for the same thing are computed once.

    Args:
        base: The model that generates.
        prefixes: What `Row.patch` counts; None is the unpatched base.
        rows: The generations wanted.
        sampling: How tokens are drawn.
        store: Where samples are kept; None keeps nothing.
        batch_size: Rows that are generated together and kept together.
        label: What the progress bar says.

    Raises:
        Rejected: `disk-full` or `read-only`, when the store cannot be written.
    """
    keys = _keys(base, prefixes, rows, sampling)
    known: dict[str, tuple[int, ...]] = {}
    missing: dict[str, Row] = {}
    for key, row in zip(keys, rows, strict=True):
        if key in known or key in missing:
            continue
        ids = None if store is None else _token_ids(store.get(key))
        if ids is None:
            missing[key] = row
        else:
            known[key] = ids
    if missing:
        known |= _generate(base, prefixes, missing, sampling, store, batch_size, label)
    return [known[key] for key in keys]


def _generate(
    base: Base,
    prefixes: Sequence[Float[Tensor, "tokens dim"] | None],
    missing: Mapping[str, Row],
    sampling: Sampling,
    store: GenerationStore | None,
    batch_size: int,
    label: str,
) -> dict[str, tuple[int, ...]]:
    """Return the completions of rows that nobody has generated yet, stored batch by batch."""
    keys = list(missing)
    made: dict[str, tuple[int, ...]] = {}
    pending: dict[str, JsonValue] = {}

    def keep() -> None:
        if store is not None:
            store.put(pending)
        pending.clear()

    def finished(index: int, ids: list[int]) -> None:
        made[keys[index]] = tuple(ids)
        pending[keys[index]] = list(ids)
        bar.update(1)
        if len(pending) == batch_size:
            keep()

    with torch.no_grad(), progress.bar(len(keys), label, unit="text") as bar:
        generate(
            base.model,
            prefix_cache(base.model, prefixes),
            list(missing.values()),
            sampling,
            eos_ids=stop_ids(base),
            batch_size=batch_size,
            on_finished=finished,
        )
    keep()
    return made


def _keys(
    base: Base,
    prefixes: Sequence[Float[Tensor, "tokens dim"] | None],
    rows: Sequence[Row],
    sampling: Sampling,
) -> list[str]:
    """Return the content key of each row: everything that its completion depends on, and nothing else."""
    digests = ["base" if prefix is None else prefix_digest(prefix) for prefix in prefixes]
    greedy = sampling.temperature == 0
    shared: dict[str, object] = {
        "sampler": SAMPLER_VERSION,
        "base": base.fingerprint,
        "arithmetic": arithmetic(base),
        "stop": sorted(stop_ids(base)),
        # Without sampling neither the nucleus nor the noise matters.
        "sampling": dataclasses.asdict(sampling) | ({"top_p": 1.0} if greedy else {}),
    }
    context = of_json(shared)
    return [of_json([context, digests[row.patch], list(row.prompt), 0 if greedy else row.seed]) for row in rows]


def _token_ids(value: JsonValue) -> tuple[int, ...] | None:
    """Return a stored value as token ids, None when it is something else."""
    if not isinstance(value, list):
        return None
    ids = tuple(item for item in value if isinstance(item, int))
    return ids if len(ids) == len(value) else None


def _line(key: str, value: JsonValue) -> bytes:
    """Return one line of a shard."""
    return canonical_json([key, value, _checksum(key, value)]) + b"\n"


def _checksum(key: str, value: JsonValue) -> int:
    """Return a CRC of key and value: enough against torn and damaged lines, of which nobody is the author."""
    return zlib.crc32(canonical_json([key, value]))
