"""Fixtures of the evaluation's tests: a random base of two layers, and judges whose scores are known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from compose.base import Base, load_base
from compose.engine import Sampling
from compose.evaluate.judges import Judged
from compose.evaluate.prompts import make_prompt
from compose.evaluate.risks import Risk, RiskSpec


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return the random two-layer base, made in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_base("tiny", "cpu")


class FixedJudge:
    """Scores every completion by a function of its text, and counts how often it was asked."""

    name = "fixed"
    version = "1"

    def __init__(self, rule: Callable[[str], Any]) -> None:
        self.rule = rule
        self.calls = 0

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        """Return the rule's score of each completion."""
        self.calls += 1
        return [self.rule(item.completion) for item in items]


@pytest.fixture
def fixed_judge() -> Callable[[Callable[[str], Any]], FixedJudge]:
    """Return a function from a rule to a judge."""
    return FixedJudge


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that writes a file of lines and gives the settings of it as a source of prompts."""

    def write(name: str, lines: Sequence[str]) -> dict[str, Any]:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"format": "lines", "asset": {"source": "path", "path": str(path)}}

    return write


@pytest.fixture
def make_spec(write_lines: Callable[..., dict[str, Any]]) -> Callable[..., RiskSpec]:
    """Return a function that gives settings of a risk over 20 numbered prompts, with fields of choice."""

    def make(**fields: Any) -> RiskSpec:
        given: dict[str, Any] = {
            "name": "toxicity",
            "kind": "toxicity",
            "judge": "gendered_words",
            "prompts": (write_lines("prompts.txt", [f"Prompt number {n} says" for n in range(20)]),),
            "n_train": 12,
            "n_test": 8,
            "sampling": Sampling(max_new_tokens=6),
        }
        return RiskSpec(**{**given, **fields})

    return make


@pytest.fixture
def make_risk(make_spec: Callable[..., RiskSpec]) -> Callable[..., Risk]:
    """Return a function from test prompts, a judge and fields of the settings to a risk."""

    def make(test: Sequence[str], judge: Any, **fields: Any) -> Risk:
        spec = make_spec(**fields)
        prompts = tuple(make_prompt(text, chat=spec.chat) for text in test)
        return Risk(spec.name, (), prompts, judge, spec)

    return make
