"""The base itself under an instruction to be safe, which the patched model will not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from jinja2 import TemplateError
from pydantic import StringConstraints
from pydantic.dataclasses import dataclass
from transformers import PreTrainedTokenizerBase

from compose.digest import of_json
from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.prompts import Prompt, render
from compose.records import SETTINGS
from compose.training.completions import Draw, Request, Response, draw_responses
from compose.training.references.reference import Reference, ReferenceContext


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Instructed:
    """Settings of a base under an instruction.

    Args:
        kind: Name in the registry.
        instruction: What the model is told.
        place: Where a chat model is told it: as the system message, or at the head of the user's message, for
            templates that know no system message. Running text always gets it in front, after an empty line.
    """

    kind: Literal["instructed"] = "instructed"
    instruction: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    place: Literal["system", "user"] = "system"

    def make(self, context: ReferenceContext) -> Reference:
        """Return the reference."""
        return InstructedReference(self, context)


class InstructedReference:
    """The base's answers to the prompt behind the instruction; the pair's prompt is the one without it."""

    def __init__(self, settings: Instructed, context: ReferenceContext) -> None:
        self.settings = settings
        self.context = context
        digest = of_json([settings.instruction, settings.place]).removeprefix("sha256:")
        self.name = f"instructed {context.base.name} {digest[:8]}"

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        """Return `samples` responses to each prompt.

        Raises:
            Rejected: `reference-invalid` when the chat template takes no system message.
        """
        tokenizer = self.context.base.tokenizer
        requests = [Request(prompt.id, self._told(tokenizer, prompt)) for prompt in prompts]
        draw = Draw(samples=samples, sampling=sampling, seed=seed, store=self.context.store)
        return draw_responses(self.context.base, requests, draw, "reference answers")

    def _told(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> tuple[int, ...]:
        """Return the prompt's tokens with the instruction in its place."""
        instruction = self.settings.instruction
        if not prompt.chat or self.settings.place == "user" or tokenizer.chat_template is None:
            return render(tokenizer, replace(prompt, text=f"{instruction}\n\n{prompt.text}"))
        turns: list[dict[str, Any]] = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": prompt.text},
        ]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise Rejected(
                "reference-invalid",
                subject="reference.place: system",
                expected="a chat template that takes a system message",
                got=f"the template of {self.context.base.name} refuses it: {error}",
                fix="set reference.place=user",
            ) from error
        return tuple(tokenizer(str(text), add_special_tokens=False)["input_ids"])
