"""How far a prefix lies from the tokens of its base."""

from __future__ import annotations

import pytest
import torch

from compose.base import Base
from compose.laboratory.nearness import token_distance
from compose.laboratory.series import nearness_of
from compose.training.init import make_prefix


def test_tokens_lie_at_no_distance_and_a_moved_row_at_what_it_was_moved_by(tiny: Base) -> None:
    prefix = make_prefix("vocab", 6, tiny, seed=3).prefix
    moved = prefix.clone()
    moved[:2, 0] += 0.003  # much less than what lies between two tokens

    assert token_distance(tiny, prefix) == pytest.approx(0, abs=1e-6)
    assert token_distance(tiny, moved) == pytest.approx(2 * 0.003 / 6, rel=1e-3)


def test_special_tokens_are_no_tokens_to_be_near_to(tiny: Base) -> None:
    special = tiny.model.get_input_embeddings()(torch.tensor([tiny.tokenizer.eos_token_id])).detach()

    assert token_distance(tiny, special) > 0.001


def test_a_composition_stands_beside_its_members_and_not_beside_the_bare_base(tiny: Base) -> None:
    one, two = (make_prefix("vocab", 4, tiny, seed=seed).prefix for seed in (1, 2))
    found = nearness_of(tiny, {"base": None, "composition": (one + two) / 2, "member/tox": one, "member/bias": two})

    assert found.members == pytest.approx({"tox": 0, "bias": 0}, abs=1e-6)
    assert found.composition == token_distance(tiny, (one + two) / 2) > 0.01
