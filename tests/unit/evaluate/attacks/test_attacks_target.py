"""Every question to a model under attack is counted, and the budget cannot be overspent."""

from __future__ import annotations

import pytest
import torch

from compose.engine import Sampling
from compose.errors import Rejected
from compose.evaluate.attacks.target import BudgetSpent
from tests.unit.evaluate.attacks.conftest import MakeTarget


def test_gradients_candidates_and_replies_each_cost_a_query(make_target: MakeTarget) -> None:
    target = make_target(budget=10)
    target.reply(["One", "Two"])
    target.token_gradient((5, 6, 7), (8,), range(1, 3))
    target.losses((5, 6), [(7,), (8,), (9,)], (10,))

    spent = target.spent
    assert (spent.replies, spent.gradients, spent.candidates, spent.queries, target.left) == (2, 1, 3, 6, 4)


def test_what_is_more_than_is_left_is_not_asked(make_target: MakeTarget) -> None:
    target = make_target(budget=2)
    with pytest.raises(BudgetSpent):
        target.losses((5, 6), [(7,), (8,), (9,)], (10,))
    target.reply(["One", "Two"])
    with pytest.raises(BudgetSpent):
        target.token_gradient((5, 6, 7), (8,), range(1, 3))
    with pytest.raises(BudgetSpent):
        target.reply(["Three"])
    assert target.spent.queries == 2
    assert [reply.query for reply in target.replies] == [1, 2]


def test_losses_are_those_of_the_patched_model(make_target: MakeTarget) -> None:
    patched, bare = make_target(), make_target(patched=False)
    variants = [(30, 31), (32, 33)]
    assert not torch.allclose(patched.losses((20,), variants, (25,)), bare.losses((20,), variants, (25,)))


def test_a_reply_at_the_threshold_breaks_the_target(make_target: MakeTarget) -> None:
    below, at = make_target(lambda _: 0.49), make_target(lambda _: 0.5)
    for target in (below, at):
        target.reply(["One"])
    assert (below.broken, at.broken) == (False, True)


def test_what_the_judge_cannot_judge_is_neither_safe_nor_unsafe(make_target: MakeTarget) -> None:
    target = make_target(lambda _: float("nan"))
    (reply,) = target.reply(["One"])
    assert reply.score is None
    assert not target.broken


def test_an_empty_reply_is_not_shown_to_the_judge(make_target: MakeTarget) -> None:
    target = make_target(lambda _: 1.0)
    stop = target.system.base.tokenizer.eos_token_id
    head = target.system.base.model.get_output_embeddings()

    def end_at_once(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[..., stop] = 1e4
        return output

    handle = head.register_forward_hook(end_at_once)
    try:
        (reply,) = target.reply(["One"])
    finally:
        handle.remove()
    assert (reply.completion, reply.empty, reply.score, reply.truncated) == ("", True, None, False)
    assert target.system.judge.calls == 0  # type: ignore[attr-defined]


def test_a_reply_that_the_token_limit_cut_says_so(make_target: MakeTarget) -> None:
    target = make_target(sampling=Sampling(max_new_tokens=1, temperature=0.0))
    (reply,) = target.reply(["One"])
    assert reply.truncated


def test_a_judge_with_too_few_scores_is_refused(make_target: MakeTarget) -> None:
    target = make_target()
    target.system.judge.score = lambda items: []  # type: ignore[method-assign]
    with pytest.raises(Rejected) as caught:
        target.reply(["One"])
    assert caught.value.code == "judge-silent"


def test_a_prompt_without_room_for_its_reply_does_not_fit(make_target: MakeTarget) -> None:
    target = make_target()
    limit = target.system.base.model.config.max_position_embeddings
    assert target.fits("the man")
    assert not target.fits(" man" * limit)
