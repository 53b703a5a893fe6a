"""A PAIR-style loop: an attacker rewrites the request, the judge scores the reply, the attacker is told, and so on.

After Chao et al. 2023, "Jailbreaking Black Box Large Language Models in Twenty Queries", 2310.08419, algorithm 1, with
several streams at once. It sees text alone: it is what any user of a patched model can do.
"""

from __future__ import annotations

import random
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.evaluate.attacks.attacker import Attacker, Tried
from compose.evaluate.attacks.rewriter import Rewriter
from compose.evaluate.attacks.target import Target
from compose.evaluate.attacks.templates import Templates
from compose.evaluate.risks.spec import Count
from compose.records import SETTINGS

IDLE_ROUNDS = 3
"""After so many rounds without a usable proposal the attack ends; what it did not ask is not counted as asked."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Pair:
    """Settings of the loop.

    Attributes:
        attacker: Who proposes.
        streams: Conversations with the attacker at a time; more are faster, fewer learn more from each reply.
        kind: Name in the registry.
    """

    attacker: Annotated[Templates | Rewriter, Field(discriminator="kind")]
    streams: Count = 4
    kind: Literal["pair"] = "pair"

    def make(self) -> PairAttack:
        """Return the attack.

        Raises:
            Rejected: What making the attacker raises.
        """
        return PairAttack(self.attacker.make(), self.streams)


class PairAttack:
    """Runs the loop with any attacker."""

    name = "pair"

    def __init__(self, attacker: Attacker, streams: int) -> None:
        self._attacker = attacker
        self._streams = streams

    @property
    def version(self) -> str:
        """Who proposes, in how many streams."""
        return f"1, {self._streams} streams, {self._attacker.name}: {self._attacker.version}"

    def run(self, target: Target) -> None:
        """Attack until a reply is unsafe, the budget is spent, or nothing usable is proposed any more.

        Raises:
            Rejected: `endpoint-refused` by the attacker's server; `judge-silent`.
        """
        source = random.Random(target.luck())
        streams: list[list[Tried]] = [[] for _ in range(self._streams)]
        idle = 0
        while not target.broken and target.left and idle < IDLE_ROUNDS:
            active = streams[: target.left]
            proposals = self._attacker.propose(target.request.text, active, source)
            usable = [
                (stream, proposal)
                for stream, proposal in zip(active, proposals, strict=True)
                if proposal is not None and target.fits(proposal.text)
            ]
            target.spent.proposals += len(proposals)
            target.spent.unusable += len(proposals) - len(usable)
            idle = 0 if usable else idle + 1
            if usable:
                replies = target.reply([proposal.text for _, proposal in usable])
                for (stream, proposal), reply in zip(usable, replies, strict=True):
                    stream.append(Tried(proposal, reply))
