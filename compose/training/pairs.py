"""Preference pairs, what a patch learns from: the record, sets of them, their files, balanced mixtures."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass as plain
from functools import cached_property
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from compose import durable
from compose.digest import canonical_json, of_bytes
from compose.engine import Sampling
from compose.errors import Rejected
from compose.records import SETTINGS
from compose.training.filters import FilterTable

FORMAT = 2
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Pair:
    """One prompt with a completion to prefer and one to avoid, and where both came from.

    Args:
        risk: The risk that the pair is about.
        prompt_id: The prompt's name.
        prompt_ids: The prompt as the model reads it, chat template included.
        chosen_ids: The preferred completion's tokens, with the token that ends it where it ended.
        rejected_ids: The avoided completion's tokens; empty where there is none, and then the pair is for SFT
            only.
        prompt: The prompt's text.
        chosen: The preferred completion's text.
        rejected: The avoided completion's text.
        chosen_score: The judge's score of `chosen`, higher being less safe; None where nobody judged.
        rejected_score: The judge's score of `rejected`.
        judge: Name and version of the judge.
        reference: Name of the reference that wrote `chosen`.
        sampling: How the base's completions were drawn.
        reference_sampling: How the reference's were asked for.
        seed: The seed of both.
    """

    risk: str
    prompt_id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    prompt: str
    chosen: str
    rejected: str
    chosen_score: float | None
    rejected_score: float | None
    judge: str
    reference: str
    sampling: Sampling
    reference_sampling: Sampling
    seed: int


_PAIR = TypeAdapter(Pair)


@plain(frozen=True)
class PairSet:
    """Pairs in a fixed order, with the table of how many candidates were dropped and why."""

    pairs: tuple[Pair, ...]
    table: FilterTable

    @cached_property
    def digest(self) -> str:
        """The digest of the pairs, order included: the same on every machine, whatever the table says."""
        return of_bytes(b"\n".join(_line(pair) for pair in self.pairs))

    @property
    def judge(self) -> str:
        """Name and version of the judge that chose and filtered the pairs; empty without pairs."""
        return self.pairs[0].judge if self.pairs else ""

    def save(self, path: Path) -> None:
        """Write the pairs as JSON lines behind one line with format, digest and table: whole or not at all.

        Raises:
            Rejected: `disk-full` or `read-only`, when the disk refuses.
        """
        head = {"format": FORMAT, "digest": self.digest, "table": dataclasses.asdict(self.table)}
        durable.write_bytes(path, b"\n".join(chain([canonical_json(head)], map(_line, self.pairs))) + b"\n")


def load(path: Path) -> PairSet:
    """Return the pairs of a file that `PairSet.save` wrote.

    Raises:
        Rejected: `pairs-corrupt` when the file is missing, malformed, or not the one that was written.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _corrupt(path, f"more than {MAX_FILE_BYTES} bytes")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise _corrupt(path, str(error.strerror)) from error
    if not lines:
        raise _corrupt(path, "an empty file")
    try:
        head = json.loads(lines[0])
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise _corrupt(path, "another format, or none")
        pairs = PairSet(
            tuple(_PAIR.validate_json(line, strict=True) for line in lines[1:]), FilterTable(**head["table"])
        )
        expected = head["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, f"a line that cannot be read ({type(error).__name__})") from error
    if pairs.digest != expected:
        raise _corrupt(path, "pairs whose digest is not the recorded one")
    return pairs


def _line(pair: Pair) -> bytes:
    """Return a pair as one line of canonical JSON."""
    return canonical_json(dataclasses.asdict(pair))


def _corrupt(path: Path, got: str) -> Rejected:
    """Return the error about a file of pairs; what it holds is not shown, for it may be offensive."""
    return Rejected(
        "pairs-corrupt",
        subject=str(path),
        expected="the pairs as they were written",
        got=got,
        fix="remove the file and build the pairs again",
    )
