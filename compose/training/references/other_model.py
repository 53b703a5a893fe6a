"""Another model that is safer already, as the paper has it; with another vocabulary only its text is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from compose.base import Base, known_models, load_base
from compose.engine import Sampling
from compose.evaluate.prompts import Prompt, render
from compose.records import SETTINGS
from compose.training.completions import Draw, Request, Response, draw_responses
from compose.training.references.reference import Reference, ReferenceContext


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OtherModel:
    """Settings of another model.

    Args:
        kind: Name in the registry.
        model: Name of a file in `conf/model/`.
    """

    kind: Literal["other_model"] = "other_model"
    model: str

    def __post_init__(self) -> None:
        if self.model not in known_models():
            raise ValueError(f"model is {self.model!r}; known models are {', '.join(known_models())}")

    def make(self, context: ReferenceContext) -> Reference:
        """Return the reference; its model is loaded when it is asked."""
        return OtherModelReference(self, context)


class OtherModelReference:
    """The other model's answers, its chat template and stop tokens being its own."""

    def __init__(self, settings: OtherModel, context: ReferenceContext) -> None:
        self.settings = settings
        self.context = context
        self.name = settings.model

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return `samples` responses to each prompt; with their ids where the vocabularies are the same.

        Raises:
            Rejected: What `load_base` raises for a model that cannot be loaded.
        """
        # Loaded for one answer and dropped: several risks may ask the same large model, one after the other.
        model = load_base(self.settings.model, device=str(self.context.base.model.device))
        requests = [Request(prompt.id, render(model.tokenizer, prompt)) for prompt in prompts]
        draw = Draw(samples=samples, sampling=sampling, seed=seed, store=self.context.store)
        drawn = draw_responses(model, requests, draw, f"answers of {model.name}")
        if same_vocabulary(model, self.context.base):
            return drawn
        return [[response._replace(ids=None) for response in responses] for responses in drawn]


def same_vocabulary(one: Base, other: Base) -> bool:
    """Return whether token ids mean the same to both models, so that one's samples can be the other's targets."""
    return dict(one.tokenizer.get_vocab()) == dict(other.tokenizer.get_vocab())
