"""Pairs as records: filters and their table, files, digests, balanced mixtures."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.engine import Sampling
from compose.errors import Rejected
from compose.training.filters import Filters, FilterTable
from compose.training.pairs import Pair, PairSet, load

Damage = Callable[[list[str]], list[str]]


def pair(number: int, risk: str = "toxicity", **changes: object) -> Pair:
    fields: dict[str, object] = {
        "risk": risk,
        "prompt_id": f"{risk}-{number}",
        "prompt_ids": (1, 2, number),
        "chosen_ids": (5, 6),
        "rejected_ids": (7,),
        "prompt": "A text\u2028with \U0001f600\x00",
        "chosen": " one",
        "rejected": " other\r\n",
        "chosen_score": 0.1 + 0.2,
        "rejected_score": None,
        "judge": "lengths 1",
        "reference": "somebody",
        "sampling": Sampling(max_new_tokens=9),
        "reference_sampling": Sampling(max_new_tokens=7),
        "seed": 3,
    }
    return Pair(**(fields | changes))  # type: ignore[arg-type]


def pairs(count: int, risk: str = "toxicity") -> PairSet:
    return PairSet(tuple(pair(n, risk) for n in range(count)), FilterTable(candidates=count + 2, margin=2, kept=count))


@pytest.mark.parametrize(
    ("chosen", "rejected", "outcome"),
    [
        (0.1, 0.6, "kept"),
        (0.1, 0.3, "margin"),  # .2 apart, which is not above .25
        (0.25, 0.5, "margin"),  # exactly the margin is not above it
        (0.5, 0.9, "winner"),  # exactly the limit is not below it
        (0.9, 0.1, "reversed"),
        (0.4, 0.05, "reversed"),  # acceptable and far enough, but worse than what it should be preferred to
    ],
)
def test_a_pair_is_kept_when_it_is_far_apart_and_its_winner_acceptable(
    chosen: float, rejected: float, outcome: str
) -> None:
    assert Filters(margin=0.25, winner=0.5).outcome(chosen, rejected) == outcome


def test_a_table_says_what_was_dropped_by_which_filter() -> None:
    table = FilterTable(candidates=14, empty=3, margin=4, winner=1, kept=6)
    assert table.dropped() == {"empty": 3, "margin": 4, "winner": 1}


def test_a_set_survives_the_disk(tmp_path: Path) -> None:
    made = pairs(3)
    made.save(tmp_path / "pairs.jsonl")
    read = load(tmp_path / "pairs.jsonl")
    assert read == made
    assert read.digest == made.digest


def test_the_digest_is_that_of_the_pairs_in_their_order() -> None:
    one, two = pair(1), pair(2)
    table = FilterTable(candidates=2, kept=2)
    digest = PairSet((one, two), table).digest
    assert PairSet((pair(1), pair(2)), FilterTable()).digest == digest
    assert PairSet((two, one), table).digest != digest
    assert PairSet((one, dataclasses.replace(two, chosen_ids=(5, 7))), table).digest != digest


def test_the_digest_is_the_same_on_every_machine() -> None:
    # Pinned: trained stages are named after it, so it may not drift between releases.
    assert pairs(2).digest == "sha256:cfd21460ca2dc55cc496e2c19f39d755a5d8b3680e8eced919f6c018b9a7d45c"


def _without_last_line(lines: list[str]) -> list[str]:
    return lines[:-1]


def _with_another_score(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].replace('"chosen_score":0.3', '"chosen_score":0.4')]


def _with_an_unknown_key(lines: list[str]) -> list[str]:
    return [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"weight": 1})]


def _with_text_for_ids(lines: list[str]) -> list[str]:
    return [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"chosen_ids": "56"})]


def _torn(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1][:20]]


def _of_another_format(lines: list[str]) -> list[str]:
    return [json.dumps(json.loads(lines[0]) | {"format": 99}), *lines[1:]]


def _headless(lines: list[str]) -> list[str]:
    return lines[1:]


def _emptied(lines: list[str]) -> list[str]:
    return []


@pytest.mark.parametrize(
    "damage",
    [
        _without_last_line,
        _with_another_score,
        _with_an_unknown_key,
        _with_text_for_ids,
        _torn,
        _of_another_format,
        _headless,
        _emptied,
    ],
)
def test_a_damaged_file_is_refused_and_none_of_it_shown(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "pairs.jsonl"
    pairs(3).save(path)
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    path.write_text("\n".join(damage(lines)), encoding="utf-8")
    with pytest.raises(Rejected, match="pairs-corrupt") as refusal:
        load(path)
    assert "A text" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="pairs-corrupt"):
        load(tmp_path / "pairs.jsonl")
