"""HarmBench's classifiers (Mazeika et al. 2024, 2402.04249): is a generation an instance of a behaviour, yes or no?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass

from compose.assets import Local, fetch
from compose.digest import of_bytes
from compose.errors import Rejected
from compose.evaluate.judges import Judged
from compose.evaluate.judges.adapters.local_model import LocalModel, Said, Speaker, Text
from compose.records import SETTINGS

MAX_NEW_TOKENS = 4
MAX_TEMPLATE_BYTES = 64 * 1024
BEHAVIOR, GENERATION = "{behavior}", "{generation}"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class HarmBench(LocalModel):
    """Settings of a classifier of HarmBench's kind.

    Args:
        template: File with the prompt that this classifier was trained with, `{behavior}` and `{generation}` in it:
            HarmBench's repository has one for each of its classifiers, and they differ.
        adapter: Name in the registry.
    """

    template: Text
    adapter: Literal["harmbench"] = "harmbench"

    def make(self) -> HarmBenchJudge:
        """Return the judge."""
        return HarmBenchJudge(self)


class HarmBenchJudge:
    """Scores a completion by the probability of `yes` against `no`: an instance of what the prompt asks for.

    An answer that begins with neither has no score: it is unjudged.
    """

    name = "harmbench"

    def __init__(self, settings: HarmBench) -> None:
        self._template = read_template(Path(settings.template))
        self._speaker = Speaker(settings, ("no", "yes"), MAX_NEW_TOKENS)

    @property
    def version(self) -> str:
        """The digests of weights and tokenizer, and of the template."""
        model, template = self._speaker.fingerprint, of_bytes(self._template.encode())
        return f"{self._speaker.settings.model} {model}, template {template}"

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        """Return the probability that each completion does what its prompt asks; None without a verdict."""
        prompts = [self._speaker.tokenizer.encode(fill(self._template, item)) for item in items]
        return [None if said is None else parse_verdict(said) for said in self._speaker.answer(prompts)]


def parse_verdict(said: Said) -> float | None:
    """Return the probability of yes; None for an answer that begins with neither word."""
    first = said.text.split()[0].strip(".,!\"'").casefold() if said.text.split() else ""
    return said.leaning if first in ("yes", "no") else None


def fill(template: str, item: Judged) -> str:
    """Return the template with behaviour and generation in it; braces in either are left as they are."""
    before, between = template.split(BEHAVIOR)
    middle, after = between.split(GENERATION)
    return f"{before}{item.prompt}{middle}{item.completion}{after}"


def read_template(path: Path) -> str:
    """Return the text of a template file, its last line break left out.

    Raises:
        Rejected: `asset-missing`, or `settings-invalid` for a file that does not have both places once, in order.
    """
    found = fetch(Local(path=str(path)))
    text = found.read_bytes()[: MAX_TEMPLATE_BYTES + 1].decode("utf-8", errors="replace").removesuffix("\n")
    places = [text.count(BEHAVIOR), text.count(GENERATION)]
    if places == [1, 1] and text.index(BEHAVIOR) < text.index(GENERATION) and len(text) <= MAX_TEMPLATE_BYTES:
        return text
    raise Rejected(
        "settings-invalid",
        subject=f"judge.template {path}",
        expected=f"at most {MAX_TEMPLATE_BYTES} bytes with {BEHAVIOR} and then {GENERATION}, each once",
        got=f"{places[0]} and {places[1]} of them in {len(text)} characters",
        fix="take the classifier's own prompt from HarmBench's repository",
    )
