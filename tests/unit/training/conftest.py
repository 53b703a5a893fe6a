"""Fixtures of the training tests."""

from collections.abc import Iterator, Sequence

import pytest

from compose.base import Base, load_base
from compose.evaluate.judges import Judged


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Return the two-layer random Llama, made in a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_base("tiny", device="cpu")


class Lengths:
    """A judge that holds long texts for unsafe: score = characters / 100, at most 1."""

    name = "lengths"
    version = "1"

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        return [min(1.0, len(item.completion) / 100) for item in items]


@pytest.fixture
def lengths() -> Lengths:
    """Return the judge of lengths."""
    return Lengths()
