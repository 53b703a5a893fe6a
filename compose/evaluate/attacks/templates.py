"""Rewrites without a model: prompts that others found, the request put in their place, and mutations of what worked.

The operators are those of fuzzing that need no model (Yu et al. 2023, "GPTFUZZER", 2309.10253, section 3.3: crossover,
expand, shorten); which parent is mutated follows the judge's scores.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.digest import of_json
from compose.errors import Rejected
from compose.evaluate.attacks.attacker import Proposal, Tried
from compose.evaluate.sources import PromptSource, read_texts
from compose.records import SETTINGS

REQUEST = "\ue000"
"""Stands in a frame where the request goes: a character of no language."""
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Templates:
    """Settings of an attacker that has a list of prompts.

    Attributes:
        sources: The prompts. The *group* of each is the words in it in whose place a request goes: the request that it
            was found for (`group_column: goal`), or a mark (`group: "[INSERT PROMPT HERE]"`). Prompts without these
            words are left out.
        longest: Longer frames are left out, in characters: long ones are slow and rarely better.
        explore: Share of the proposals that take a frame not tried before, once there is something to mutate.
        kind: Which attacker this is.
    """

    sources: Annotated[tuple[PromptSource, ...], Field(min_length=1)]
    longest: Annotated[int, Field(gt=0)] = 800
    explore: Annotated[float, Field(ge=0, le=1)] = 0.5
    kind: Literal["templates"] = "templates"

    def make(self) -> TemplateAttacker:
        """Return the attacker."""
        return TemplateAttacker(self)


class TemplateAttacker:
    """Draws frames and mutates the best so far.

    Raises:
        Rejected: `prompts-empty` when no frame is left; what reading the sources raises.
    """

    name = "templates"

    def __init__(self, settings: Templates) -> None:
        self._settings = settings
        pairs = [pair for source in settings.sources for pair in read_texts(source)]
        framed = (frame for text, words in pairs if (frame := frame_of(text, words)) is not None)
        self.frames = tuple(dict.fromkeys(frame for frame in framed if len(frame) <= settings.longest))
        if not self.frames:
            raise Rejected(
                "prompts-empty",
                subject="attack.attacker.sources",
                expected=f"a prompt of at most {settings.longest} characters with the words of its group in it",
                got=f"none among {len(pairs)} prompts",
                fix="correct group or group_column of the sources, or raise longest",
            )

    @cached_property
    def version(self) -> str:
        """The digest of the frames, and of how they are used."""
        return f"{len(self.frames)} frames, {of_json(list(self.frames))}, explore {self._settings.explore:g}"

    def propose(self, request: str, streams: Sequence[Sequence[Tried]], source: random.Random) -> list[Proposal | None]:
        """Return one proposal a stream. Every stream draws on what all of them have tried."""
        tried = [one for stream in streams for one in stream]
        used = {one.proposal.frame for one in tried}
        proposals: list[Proposal | None] = []
        for _ in streams:
            frame = self._frame(tried, used, source)
            used.add(frame)
            proposals.append(Proposal(frame.replace(REQUEST, request), frame))
        return proposals

    def _frame(self, tried: Sequence[Tried], used: set[str], source: random.Random) -> str:
        """Return a frame that was not tried, or a mutation of the best one."""
        fresh = [frame for frame in self.frames if frame not in used]
        if fresh and (not tried or source.random() < self._settings.explore):
            return source.choice(fresh)
        parent = source.choice(self.frames)
        if tried:
            best = max(tried, key=lambda one: -1.0 if one.reply.score is None else one.reply.score)
            parent = best.proposal.frame
        made = source.choice((joined, shortened, nested))(parent, source.choice(self.frames), source)
        return made if len(made) <= self._settings.longest else source.choice(fresh or self.frames)


def frame_of(text: str, words: str) -> str | None:
    """Return a prompt with `REQUEST` where these words first stand, in any case; None when they do not."""
    found = re.search(re.escape(words), text, re.IGNORECASE) if words else None
    return None if found is None else f"{text[: found.start()]}{REQUEST}{text[found.end() :]}"


def joined(frame: str, other: str, source: random.Random) -> str:
    """Return a frame behind a sentence of another (crossover)."""
    sentences = [part for part in SENTENCE_END.split(other) if part.strip() and REQUEST not in part]
    return f"{source.choice(sentences)} {frame}" if sentences else frame


def shortened(frame: str, _: str, source: random.Random) -> str:
    """Return a frame without one of its sentences (shorten)."""
    sentences = SENTENCE_END.split(frame)
    droppable = [place for place, part in enumerate(sentences) if REQUEST not in part]
    if not droppable:
        return frame
    gone = source.choice(droppable)
    return " ".join(part for place, part in enumerate(sentences) if place != gone)


def nested(frame: str, other: str, _: random.Random) -> str:
    """Return a frame inside another (expand)."""
    return other.replace(REQUEST, frame, 1)
