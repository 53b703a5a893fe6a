"""The suites that evidence counts on: which prompts, how often each is answered, who judges. Known by digest.

Whoever checks evidence has no prompts, only their ids, which follow from the words: the ids have a digest of their own,
so that no prompt can be left out, added or exchanged without being noticed. Prompts and judges of the suites that ship
are pinned, so their digests are the same everywhere: `suites.json` has them. Who measures on data of their own puts a
file like it beside the keyring: both say what a person trusts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from compose import digest
from compose.parse import read_record, strict_json
from compose.plain_file import read_bytes
from compose.records import Claim, Digest, Label, Name, PlainText

PINS_FILE = "suites.json"
MAX_PINS_BYTES = 1024 * 1024
MAX_PROMPTS = 100_000

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Version = Annotated[PlainText, Field(min_length=1, max_length=256)]


class SuitePart(Claim):
    """One part of a suite: which prompts, how often each is answered, and who judges from which score on.

    Attributes:
        kind: Kind of its risk, such as "toxicity".
        prompts: Digest of its test prompts, order included.
        ids: Digest of their ids alone, see `ids_digest`.
        n_prompts: How many they are.
        samples: Completions a prompt.
        sampling: How they are drawn.
        threshold: A completion whose score reaches it is unsafe.
        judge: Name of the judge.
        judge_version: What identifies its model or list.
        grouped: Whether prompts of one group depend on each other, so that a group is one unit of every bound.
    """

    kind: Name
    prompts: Digest
    ids: Digest
    n_prompts: Annotated[int, Field(ge=1, le=MAX_PROMPTS)]
    samples: Annotated[int, Field(ge=1, le=10_000)]
    sampling: Version
    threshold: Share
    judge: Label
    judge_version: Version
    grouped: bool = False


class SuitePin(Claim):
    """What must be known of a suite before evidence on it counts: all of its prompts, by digest, and its parts."""

    digest: Digest
    parts: Annotated[Mapping[Name, SuitePart], Field(min_length=1, max_length=64)]


class PassagesPin(Claim):
    """What must be known of neutral passages before evidence on them counts.

    Attributes:
        digest: Digest of everything that utility is measured with.
        ids: Digest of the ids of the passages, see `ids_digest`.
    """

    digest: Digest
    ids: Digest


class Pins(Claim):
    """The suites that evidence counts on: those of the package, and those that a person vouches for.

    Attributes:
        schema_version: Layout of this record.
        suites: The suites by name.
        passages: What utility may be measured with.
    """

    schema_version: Literal[1] = 1
    suites: Annotated[Mapping[Name, SuitePin], Field(max_length=256)]
    passages: Annotated[tuple[PassagesPin, ...], Field(max_length=256)]

    def joined(self, other: Pins) -> Pins:
        """Return these pins with another's; where both know a suite, the other's counts."""
        passages = tuple(dict.fromkeys([*self.passages, *other.passages]))
        return Pins(suites={**self.suites, **other.suites}, passages=passages)


def ids_digest(ids: Iterable[str]) -> str:
    """Return the digest of ids whatever their order; an id that comes twice counts twice."""
    return digest.of_json(sorted(ids))


def read_pins(data: bytes, *, subject: str) -> Pins:
    """Return the pins that `data` spells.

    Raises:
        Rejected: `evidence-invalid`.
    """
    fields = strict_json(data, subject=subject, code="evidence-invalid", max_bytes=MAX_PINS_BYTES)
    return read_record(Pins, fields, subject=subject, code="evidence-invalid")


def vouched_for(keys: Path) -> Pins:
    """Return the suites that evidence counts on: those that ship, and those of suites.json beside the keyring.

    Args:
        keys: The folder of keys.

    Raises:
        Rejected: `evidence-invalid` for a file that is malformed.
    """
    path = keys / PINS_FILE
    data = read_bytes(path, max_bytes=MAX_PINS_BYTES, code="evidence-invalid", subject=str(path))
    return shipped_pins() if data is None else shipped_pins().joined(read_pins(data, subject=str(path)))


def shipped_pins() -> Pins:
    """Return the suites that ship with the package: their prompts and judges are pinned, so their digests are known."""
    path = Path(__file__).with_name(PINS_FILE)
    return read_pins(path.read_bytes(), subject=str(path))
