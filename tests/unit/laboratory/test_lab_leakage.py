"""What a patch was trained on, found by the digests on its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compose.errors import Rejected
from compose.laboratory.leakage import trained_prompts
from compose.records import BaseRef, PatchCard
from compose.training.pairs import PairSet

DIGEST = "sha256:" + "a" * 64


def card(**data: str) -> PatchCard:
    return PatchCard(
        name="p", risks=("toxicity",), base=BaseRef(fingerprint=DIGEST), strategy="specialist", data=data, tokens=1,
        dim=1, prefix=DIGEST,
    )  # fmt: skip


@pytest.fixture
def kept(make_pairs: Callable[..., PairSet]) -> PairSet:
    made = make_pairs("toxicity", 3)
    return PairSet(tuple(replace(pair, prompt=f"Prompt {n}") for n, pair in enumerate(made.pairs)), made.table)


def test_pairs_that_a_run_keeps_beside_its_patches_are_found(kept: PairSet, tmp_path: Path) -> None:
    kept.save(tmp_path / "pairs" / "toxicity.jsonl")
    texts, unknown = trained_prompts(card(toxicity=kept.digest, anchors=DIGEST), tmp_path / "patches" / "p")
    assert (texts, unknown) == ({"Prompt 0", "Prompt 1", "Prompt 2"}, [])


def test_pairs_of_other_patches_are_not_taken_for_its_own(kept: PairSet, tmp_path: Path) -> None:
    kept.save(tmp_path / "pairs" / "toxicity.jsonl")
    assert trained_prompts(card(toxicity=DIGEST), tmp_path / "patches" / "p") == (set(), ["toxicity"])


def test_pairs_that_lie_elsewhere_can_be_given(kept: PairSet, tmp_path: Path) -> None:
    kept.save(tmp_path / "elsewhere.jsonl")
    texts, unknown = trained_prompts(card(toxicity=kept.digest), tmp_path / "p", [tmp_path / "elsewhere.jsonl"])
    assert (len(texts), unknown) == (3, [])


@pytest.mark.parametrize("content", [None, b"", b"[]\n", b"no JSON\n"])
def test_a_file_that_is_given_and_holds_no_pairs_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Rejected) as caught:
        trained_prompts(card(toxicity=DIGEST), tmp_path / "p", [path])
    assert caught.value.code == "pairs-corrupt"
