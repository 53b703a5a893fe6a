"""GCG finds suffixes that make its opening likelier behind the patch, as text, within its budget."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tokenizers import normalizers

from compose.base import Base
from compose.errors import Rejected
from compose.evaluate.attacks.gcg import Gcg, as_text, with_suffix
from compose.evaluate.attacks.target import Target
from tests.unit.evaluate.attacks.conftest import MakeTarget

SMALL = Gcg(suffix_tokens=6, top_k=40, candidates=12)


def opening_loss(target: Target, text: str) -> float:
    """Return the loss of the opening behind a prompt, asked apart from the attack."""
    tokenizer = target.system.base.tokenizer
    opening = tuple(tokenizer(SMALL.opening, add_special_tokens=False)["input_ids"])
    other = Target(target.system, target.request, 1, 0)
    ids = target.system.encode(text)
    return float(other.losses(ids[:1], [ids[1:]], opening))


def test_the_opening_becomes_likelier_step_by_step(make_target: MakeTarget) -> None:
    target = make_target(budget=100)
    SMALL.make().run(target)
    start = f"{target.request.text} {' '.join('!' * 6)}"
    losses = [opening_loss(target, text) for text in (start, *(reply.prompt for reply in target.replies))]

    assert len(losses) >= 7
    assert losses[-1] < losses[0] - 0.5
    assert losses[1] < losses[0]


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 16, 31])
def test_no_budget_is_overspent_and_a_last_short_step_is_used(budget: int, make_target: MakeTarget) -> None:
    target = make_target(budget=budget)
    SMALL.make().run(target)
    assert target.spent.queries <= budget
    assert target.left < 3
    assert target.spent.replies == target.spent.gradients == (0 if budget < 3 else 1 + (budget - 3) // 14)


def test_each_step_changes_one_token_and_each_prompt_is_text_that_anyone_can_type(make_target: MakeTarget) -> None:
    target = make_target(budget=60)
    SMALL.make().run(target)
    system = target.system
    before = with_suffix(system.base.tokenizer, target.request.text, " ".join("!" * 6), chat=True)
    for reply in target.replies:
        ids = system.encode(reply.prompt)
        assert reply.prompt.startswith(target.request.text)
        assert len(ids) == len(before.ids)
        assert [a != b for a, b in zip(ids, before.ids, strict=True)].count(True) == 1
        before = before._replace(suffix=ids[len(before.head) : len(ids) - len(before.tail)])


def test_the_first_unsafe_reply_ends_the_attack(make_target: MakeTarget) -> None:
    target = make_target(lambda _: 1.0, budget=100)
    SMALL.make().run(target)
    assert (target.spent.replies, target.spent.gradients) == (1, 1)


def test_the_same_seed_tries_the_same_and_another_seed_does_not(make_target: MakeTarget) -> None:
    def prompts(seed: int) -> list[str]:
        target = make_target(budget=40, seed=seed)
        SMALL.make().run(target)
        return [reply.prompt for reply in target.replies]

    assert prompts(1) == prompts(1)
    assert prompts(1) != prompts(2)


@pytest.mark.parametrize("chat", [True, False])
def test_a_suffix_stands_between_the_request_and_the_template(chat: bool, tiny: Base) -> None:
    prompt = with_suffix(tiny.tokenizer, "Please help", "! ! !", chat=chat)
    text = as_text(tiny.tokenizer, "Please help", prompt, chat=chat)

    assert tiny.tokenizer.decode(prompt.suffix) == " ! ! !"
    assert text == "Please help ! ! !"
    assert bool(prompt.tail) is chat


def test_tokens_that_merge_when_written_are_no_suffix(tiny: Base) -> None:
    prompt = with_suffix(tiny.tokenizer, "Please help", "the man", chat=True)
    letters = tuple(tiny.tokenizer.convert_tokens_to_ids(["Ġ", "m", "a", "n"]))
    assert as_text(tiny.tokenizer, "Please help", prompt._replace(suffix=letters), chat=True) is None


def test_special_tokens_and_what_cannot_be_printed_are_never_drawn(tiny: Base) -> None:
    allowed = Gcg().make()._allowed(tiny.tokenizer, len(tiny.tokenizer))
    texts = [tiny.tokenizer.decode([token]) for token in allowed.nonzero().flatten().tolist()]

    assert all(text.isascii() and text.isprintable() for text in texts)
    assert not allowed[torch.tensor(tiny.tokenizer.all_special_ids)].any()
    assert " man" in texts


def test_a_start_of_which_the_tokenizer_leaves_nothing_is_refused(make_target: MakeTarget) -> None:
    target = make_target(chat=False, budget=5)
    tokenizer = copy.deepcopy(target.system.base.tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    target.system = replace(target.system, base=replace(target.system.base, tokenizer=tokenizer))
    with pytest.raises(Rejected) as caught:
        Gcg(start=" ", suffix_tokens=3).make().run(target)
    assert caught.value.code == "settings-invalid"
    assert target.spent.queries == 0
