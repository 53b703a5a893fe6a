"""What is measured: the settings of one benchmark run, given as key=value on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.errors import Rejected
from compose.records import SETTINGS
from compose.validated import validated

Positive = Annotated[int, Field(gt=0)]
Part = Literal["dpo", "sft", "generate", "compositions", "run", "evaluate"]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BenchSettings:
    """One benchmark run.

    Attributes:
        model: Name of a file in conf/model/.
        device: `cpu`, `cuda` or `cuda:<n>`; None takes the GPU when there is one.
        parts: What is measured. `run` trains over `pairs` pairs once, and is meant for a GPU. `evaluate` is a whole
            evaluation of a patch on `suite`, once too: minutes on a CPU, so leave `memory` off.
        tokens: Prefix lengths.
        rounds: How often every variant gets its turn, A B A B: a machine that slows down slows both.
        steps: Timed training steps, or calls, in one turn; one more warms up and is not counted.
        batch: Pairs, or prompts, in a batch.
        prompt: Tokens in a prompt.
        completion: Tokens in a completion.
        new_tokens: Tokens that are generated, for every row.
        compositions: How many prefixes the evaluation together compares.
        suite: A file of conf/suite/, and overrides of it, for part `evaluate`.
        pairs: Preference pairs of part `run`; 1,079 is the training set of arXiv 2511.08484.
        memory: Whether each variant runs once more in a process of its own, to read its peak memory.
        seed: Seed of the random tokens and prefixes.
        out: Where the JSON goes; None only prints the table.
    """

    model: str = "smollm2"
    device: str | None = None
    parts: tuple[Part, ...] = ("dpo", "sft", "generate", "compositions")
    tokens: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 50, 100)
    rounds: Positive = 3
    steps: Positive = 3
    batch: Positive = 8
    prompt: Positive = 12
    completion: Positive = 20
    new_tokens: Positive = 40
    compositions: Positive = 10
    suite: Annotated[tuple[str, ...], Field(min_length=1)] = ("gender_bias",)
    pairs: Positive = 1079
    memory: bool = True
    seed: int = 0
    out: str | None = None


def read_settings(words: Sequence[str]) -> BenchSettings:
    """Return the settings that `key=value` words describe; values are YAML, such as `tokens=[10,50]`.

    Raises:
        Rejected: `settings-invalid`.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise _not_a_setting(word, "a word without =")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise _not_a_setting(word, "a value that is no YAML") from error
    return validated(BenchSettings, values, subject="python -m experiments.bench")


def _not_a_setting(word: str, got: str) -> Rejected:
    """Return the error about one word of the command line."""
    return Rejected(
        "settings-invalid",
        subject=f"{word!r} on the command line",
        expected="key=value, such as model=smollm2 or tokens=[10,50]",
        got=got,
        fix="write it as key=value",
    )
