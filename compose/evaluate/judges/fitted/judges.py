"""Judges whose head ships with the package, or lies in a folder: their verdicts, their versions, their cards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compose.evaluate.judges import Form, Judged
from compose.evaluate.judges.fitted.head import Head, read_head
from compose.evaluate.judges.fitted.kinds import KINDS, Kind

SHIPPED = Path(__file__).parent / "heads"


def head_path(kind: str, folder: Path = SHIPPED) -> Path:
    """Return where the head of a kind lies."""
    return folder / f"{kind}.safetensors"


def card_path(judge: str, folder: Path = SHIPPED) -> Path:
    """Return where the card of a judge lies."""
    return folder / f"{judge}.json"


@cache
def _head(path: Path) -> Head:
    return read_head(path)


class FittedJudge:
    """Scores completions by a fitted head, without their prompt; an empty one says nothing and gets no score.

    Known errors stand on its card: `compose judge card NAME`.
    """

    def __init__(self, kind: str, form: Form, folder: Path = SHIPPED) -> None:
        self.name = f"{kind}_{form}"
        self._kind, self._form = KINDS[kind], form
        self._head = _head(head_path(kind, folder))

    @property
    def version(self) -> str:
        """Digest of the head; with it, of what else is asked: a gate, sentence embeddings, what knows profanity."""
        from compose.evaluate.judges.profanity import model_digest

        parts = [f"head {self._head.version}", f"profanity {model_digest()[:19]}"]
        if self._kind.gate is not None:
            parts.append(f"gate {_head(head_path(self._kind.gate.kind)).version}")
        if self._form == "sentences":
            from compose.evaluate.judges.fitted.sentences import VERSION

            parts.append(VERSION)
        return ", ".join(parts)

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        """Return the score of each completion, None for an empty one."""
        said = [place for place, item in enumerate(items) if item.completion.strip()]
        scores: list[float | None] = [None] * len(items)
        shown = [items[place] for place in said]
        factors = gate_factors(self._kind, gate_opinions(self._kind, shown))
        found = self._head.scores([item.completion for item in shown], self._form, factors)
        for place, score in zip(said, found.tolist(), strict=True):
            scores[place] = 1 - score if self._kind.inverted else score
        return scores


def gate_opinions(kind: Kind, items: Sequence[Judged]) -> list[float | None] | None:
    """Return what the judge that gates a kind scores completions, by its head that ships; None without a gate."""
    return None if kind.gate is None else FittedJudge(kind.gate.kind, "linear").score(items)


def gate_factors(kind: Kind, opinions: Sequence[float | None] | None) -> Float[np.ndarray, " texts"] | None:
    """Return what the decisions on texts are multiplied by, 1 where the gate says nothing; None without a gate."""
    if kind.gate is None or opinions is None:
        return None
    return np.asarray([1.0 if score is None else 1 - kind.gate.share * (1 - score) for score in opinions])
