"""What rules look at: one lock and everything that was read for it, once, before any rule runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from compose.errors import Rejected
from compose.patch_files import PlainPatch
from compose.records import PatchCard
from compose.trust.claims import Lock, LockedPatch
from compose.trust.evidence import Statement
from compose.trust.keyring import PublicKey
from compose.trust.suites import Pins


@dataclass(frozen=True)
class Exhibit:
    """One file of evidence: what its seal held, or why it was refused.

    Attributes:
        name: What the file is called in findings.
        digest: Digest of its bytes.
        statement: What is stated in it; None when it was refused.
        refused: Why it was refused; None when its seal and its statement are good.
    """

    name: str
    digest: str
    statement: Statement | None = None
    refused: Rejected | None = None


@dataclass(frozen=True)
class Case:
    """A composition before the rules.

    Attributes:
        lock: The lock.
        digest: Its digest.
        patches: By member, what the store holds under its digests, or why the store refused it.
        authors: By member, the keys of the authors who have signed it (none for an unsigned one), or why the signature
            was refused.
        pinned: By name of a patch, the authors of whom one must have signed it.
        init: The start that a sum is made over, likewise; None for other methods.
        exhibits: The evidence.
        pins: The suites that evidence counts on.
        now: The moment of the check.
        max_age: Older evidence does not count.
    """

    lock: Lock
    digest: str
    patches: Mapping[str, PlainPatch | Rejected]
    authors: Mapping[str, tuple[PublicKey, ...] | Rejected]
    pinned: Mapping[str, tuple[str, ...]]
    init: PlainPatch | Rejected | None
    exhibits: tuple[Exhibit, ...]
    pins: Pins
    now: datetime
    max_age: timedelta

    def cards(self) -> Iterator[tuple[LockedPatch, PatchCard]]:
        """Yield the members that the store holds, each with its card."""
        for patch in self.lock.patches:
            held = self.patches[patch.name]
            if not isinstance(held, Rejected):
                yield patch, held.card

    def statements(self) -> Iterator[tuple[Exhibit, Statement]]:
        """Yield the evidence whose seal is good and that is about this very lock."""
        for exhibit in self.exhibits:
            if exhibit.statement is not None and exhibit.statement.lock == self.digest:
                yield exhibit, exhibit.statement
