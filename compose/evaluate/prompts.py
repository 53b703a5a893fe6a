"""Prompts: what a model is asked, under an id that follows from the words, and how it becomes token ids."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from compose.base import encode
from compose.digest import canonical_json, of_json
from compose.errors import Rejected

ID_HEX_DIGITS = 16


@dataclass(frozen=True)
class Prompt:
    """A text to continue, or a request to answer.

    Attributes:
        id: Follows from text and form alone, so the same prompt has the same id in every run.
        text: The words.
        chat: Whether it is put to the model as a user's message, instead of as a text to continue.
        group: What it was made from (a profession, a category); empty when there is nothing to say.
    """

    id: str
    text: str
    chat: bool = False
    group: str = ""


def make_prompt(text: str, *, chat: bool = False, group: str = "") -> Prompt:
    """Return the prompt of a text."""
    digest = hashlib.sha256(canonical_json([text, chat])).hexdigest()
    return Prompt(digest[:ID_HEX_DIGITS], text, chat, group)


def normal_form(text: str) -> str:
    """Return a text without differences of case, spacing and Unicode form: prompts that share it are one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def unique(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return the prompts in order, without those whose normal form came before."""
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        first.setdefault(normal_form(prompt.text), prompt)
    return list(first.values())


def digest_of(prompts: Sequence[Prompt]) -> str:
    """Return the digest of a list of prompts, order included."""
    return of_json([[p.id, p.text, p.chat] for p in prompts])


def render(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> tuple[int, ...]:
    """Return the prompt's token ids, as the base expects them (see `compose.base.encode`).

    Raises:
        Rejected: `prompts-empty` when no token comes out.
    """
    ids = encode(tokenizer, prompt.text, chat=prompt.chat)
    if not ids:
        raise Rejected(
            "prompts-empty",
            subject=f"prompt {prompt.id}",
            expected="at least one token",
            got=f"no token from {len(prompt.text)} characters",
            fix="remove the prompt from its source",
        )
    return ids
