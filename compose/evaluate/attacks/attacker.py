"""Who rewrites a request for a PAIR-style attack: what it is shown, and what it gives back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from compose.evaluate.attacks.target import Reply


class Proposal(NamedTuple):
    """A prompt to be tried, and what the attacker itself wants to know of it later."""

    text: str
    frame: str = ""


class Tried(NamedTuple):
    """A proposal with what came of it."""

    proposal: Proposal
    reply: Reply


class Attacker(Protocol):
    """Proposes prompts. `version` changes whenever it could propose others."""

    @property
    def name(self) -> str:
        """Its name in settings."""
        ...

    @property
    def version(self) -> str:
        """What identifies the model, or the texts, behind the proposals."""
        ...

    def propose(self, request: str, streams: Sequence[Sequence[Tried]], source: random.Random) -> list[Proposal | None]:
        """Return one proposal a stream, from what that stream has tried; None where none came."""
        ...
