"""Anchors keep a patched model near its base, and training counts them where it should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compose.base import Base
from compose.errors import Rejected
from compose.evaluate.prompts import make_prompt
from compose.training.anchors import Anchor, base_logprobs, divergence, make_anchors
from compose.training.model import SharedPrefixModel
from compose.training.settings import TrainSettings
from compose.training.stage import train_stage
from compose.training.trainers import Anchoring
from tests.unit.training.test_train_stage import PAIRS

ANCHORS = (Anchor((11, 12), (13, 14)), Anchor((15,), (16, 17, 18)), Anchor((19,), (20,)))


@pytest.fixture
def prefix(tiny: Base) -> Tensor:
    rows: Tensor = tiny.model.get_input_embeddings().weight[5:9].clone()
    return rows


def plain_divergence(base: Base, prefix: Tensor) -> float:
    """Return KL(base || patched) by its definition, one anchor and one position at a time."""
    embedding = base.model.get_input_embeddings()
    terms = []
    for anchor in ANCHORS:
        text = embedding(torch.tensor([*anchor.prompt_ids, *anchor.text_ids]))
        distances = []
        base_logits = base.model(inputs_embeds=text[None]).logits[0]
        patched_logits = base.model(inputs_embeds=torch.cat([prefix, text])[None]).logits[0, len(prefix) :]
        for place in range(len(anchor.prompt_ids) - 1, len(text) - 1):
            p, q = base_logits[place].softmax(-1), patched_logits[place].softmax(-1)
            distances.append(float((p * (p / q).log()).sum()))
        terms.append(sum(distances) / len(distances))
    return sum(terms) / len(terms)


@torch.no_grad()
def test_the_models_anchor_term_is_the_mean_divergence_from_the_base(tiny: Base, prefix: Tensor) -> None:
    model = SharedPrefixModel(tiny.model, prefix)
    model.anchors = ANCHORS
    ids = torch.tensor([[30, 31, 32], [33, 34, 35]])
    labels = torch.tensor([[-100, 31, 32], [-100, 34, 35]])
    alone = SharedPrefixModel(tiny.model, prefix)(input_ids=ids, labels=labels, fused_lm_head=True)
    joined = model(input_ids=ids, labels=labels, fused_lm_head=True)
    torch.testing.assert_close(joined.log_probs, alone.log_probs)
    assert model.anchor_divergence is not None
    assert float(model.anchor_divergence) == pytest.approx(plain_divergence(tiny, prefix), rel=1e-4)


@torch.no_grad()
def test_the_base_does_not_diverge_from_itself(tiny: Base) -> None:
    logprobs = base_logprobs(tiny.model, ANCHORS)
    assert logprobs.shape == (6, tiny.model.config.vocab_size)
    assert float(divergence(logprobs, logprobs, ANCHORS)) == pytest.approx(0.0, abs=1e-6)


def test_a_heavier_anchor_leaves_a_patch_nearer_to_its_base(tiny: Base, prefix: Tensor, tmp_path: Path) -> None:
    settings = TrainSettings(sft_steps=10, dpo_steps=10, batch_size=4, sft_lr=5e-2, dpo_lr=5e-2, anchor_rows=3)
    found = {}
    for weight in (0.0, 30.0):
        one = dataclasses.replace(settings, anchor_weight=weight)
        result = train_stage(tiny, prefix, PAIRS, one, seed=0, folder=tmp_path / str(weight), anchors=ANCHORS)
        found[weight] = plain_divergence(tiny, result.prefix)
        assert all(("anchor_kl" in entry) == (weight > 0) for entry in result.log)
    assert found[30.0] < found[0.0]


def test_processes_and_steps_take_the_anchors_in_turn() -> None:
    anchoring = Anchoring(ANCHORS, weight=1.0, rows=2)
    first, second, third = ANCHORS
    assert anchoring.of_step(0, process=0, processes=1) == [first, second]
    assert anchoring.of_step(1, process=0, processes=1) == [third, first]
    # Two processes share what one takes.
    assert anchoring.of_step(1, process=0, processes=2) == [third]
    assert anchoring.of_step(1, process=1, processes=2) == [first]


def test_requests_and_passages_come_in_turn_cut_to_length(tiny: Base) -> None:
    requests = [make_prompt(f"Name {n} things.", chat=True) for n in range(2)]
    passages = [make_prompt(f"The river {n} runs to the sea and the hills stand over it.") for n in range(3)]
    made = make_anchors(tiny, requests, passages, max_new_tokens=5, max_tokens=6)
    assert len(made.anchors) == 5
    assert [len(one.prompt_ids) == 1 for one in made.anchors] == [False, True, False, True, True]
    assert all(len(one.text_ids) <= 5 for one in made.anchors)
    assert made.digest != dataclasses.replace(made, anchors=made.anchors[::-1]).digest


def test_no_usable_text_is_refused(tiny: Base) -> None:
    with pytest.raises(Rejected, match="anchors-empty"):
        make_anchors(tiny, [], [make_prompt("a")], max_new_tokens=5, max_tokens=1)
