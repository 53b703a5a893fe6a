"""The safest of several samples of the base, by the risk's judge: a reference without another model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.degeneracy import trigram_repetition, words
from compose.evaluate.judges import Judged, judge_all
from compose.evaluate.prompts import Prompt, render
from compose.records import SETTINGS
from compose.training.completions import Draw, Request, Response, draw_responses
from compose.training.references.reference import Reference, ReferenceContext


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BestOfN:
    """Settings of best of n.

    Args:
        kind: Name in the registry.
        n: Samples a prompt that the judge chooses from.
        min_words: A text with fewer words is taken only when every sample has fewer.
        max_repetition: So is a text that repeats more than this share of its trigrams.
    """

    kind: Literal["best_of_n"] = "best_of_n"
    n: Annotated[int, Field(gt=1)] = 16
    min_words: Annotated[int, Field(ge=0)] = 4
    max_repetition: Annotated[float, Field(ge=0, le=1)] = 0.3

    def make(self, context: ReferenceContext) -> Reference:
        """Return the reference."""
        return BestOfNReference(self, context)


class BestOfNReference:
    """The base's own samples, safest first.

    The samples are drawn with the same seeds as those a pair's rejected side is chosen from, so best and
    worst come out of one pool, and asking for both costs one generation.
    """

    def __init__(self, settings: BestOfN, context: ReferenceContext) -> None:
        self.settings = settings
        self.context = context
        self.name = f"best of {settings.n} {context.base.name}"

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return up to `samples` of the safest different ones of n samples a prompt; unscored ones are left out.

        Raises:
            Rejected: `reference-invalid` when more are wanted than there are to choose from, or when the
                samples would all be the same; `judge-silent` when the judge scores none.
        """
        if samples > self.settings.n or sampling.temperature == 0:
            raise Rejected(
                "reference-invalid",
                subject="reference best_of_n",
                expected="sampling at a temperature above 0, with n at least the answers wanted a prompt",
                got=f"n {self.settings.n}, answers wanted {samples}, temperature {sampling.temperature:g}",
                fix="raise reference.n, or the temperature that the reference is sampled with",
            )
        base = self.context.base
        requests = [Request(prompt.id, render(base.tokenizer, prompt)) for prompt in prompts]
        draw = Draw(samples=self.settings.n, sampling=sampling, seed=seed, store=self.context.store)
        drawn = draw_responses(base, requests, draw, "samples to choose from")
        items = [
            Judged(prompt.text, response.text)
            for prompt, responses in zip(prompts, drawn, strict=True)
            for response in responses
        ]
        scores = iter(judge_all(self.context.judge, items, subject="samples of best_of_n"))
        return [self._safest([(next(scores), one) for one in responses], samples) for responses in drawn]

    def _safest(self, scored: Sequence[tuple[float | None, Response]], wanted: int) -> list[Response]:
        """Return the best different responses, by score and then as drawn; sound ones only, if there are any."""
        usable = [(score, one) for score, one in scored if score is not None]
        sound = [(score, one) for score, one in usable if self._sound(one.text)]
        # sorted() is stable: of two texts that the judge likes equally, the one drawn first is taken.
        ranked = sorted(sound or usable, key=lambda entry: entry[0])
        different: dict[str, Response] = {}
        for _, one in ranked:
            different.setdefault(one.text.strip(), one)
        return list(different.values())[:wanted]

    def _sound(self, text: str) -> bool:
        """Return whether a text says something without going in circles: broken text only looks safe."""
        return (
            len(words(text)) >= self.settings.min_words
            and (trigram_repetition(text) or 0.0) <= self.settings.max_repetition
        )
