"""What the laboratory's tests share: the tiny base, and pairs made of its vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from compose.base import Base, load_base
from compose.engine import Sampling
from compose.training.filters import FilterTable
from compose.training.pairs import Pair, PairSet


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Return the two-layer random Llama, made in a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_base("tiny", device="cpu")


def pairs(risk: str, count: int, *, rejected: bool = True) -> PairSet:
    """Return pairs of one risk that differ from each other and from every other risk's."""
    shift = sum(risk.encode()) % 40

    def one(number: int) -> Pair:
        start = 10 + shift + number
        return Pair(
            risk=risk,
            prompt_id=f"{risk}-{number}",
            prompt_ids=(start, start + 1, start + 2),
            chosen_ids=(start + 3, start + 4),
            rejected_ids=(start + 5, start + 6) if rejected else (),
            prompt="p",
            chosen="c",
            rejected="r" if rejected else "",
            chosen_score=0.0,
            rejected_score=1.0,
            judge="j 1",
            reference="best of 2",
            sampling=Sampling(),
            reference_sampling=Sampling(),
            seed=0,
        )

    table = FilterTable(candidates=count + 3, margin=2, winner=1, kept=count)
    return PairSet(tuple(one(number) for number in range(count)), table)


@pytest.fixture
def make_pairs() -> Callable[..., PairSet]:
    """Return the maker of pairs: `make_pairs(risk, count, rejected=True)`."""
    return pairs
