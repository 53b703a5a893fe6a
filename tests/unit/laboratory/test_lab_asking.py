"""How far a part is asked: until its gates are settled, in the lock's order, and alike after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compose.base import Base
from compose.digest import hash_order
from compose.evaluate.results import Measurement, RiskResult
from compose.evaluate.risks import Risk
from compose.laboratory.asking import BATCH, until_settled, whole
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.series import Asked, outcome_of, series_of
from compose.trust.bounds import Rate
from compose.trust.claims import GateClaim, Lock, lock_digest
from compose.trust.evidence import seed_of
from tests.unit.laboratory.parts import part
from tests.unit.trust.cases import locked, members

N = 125
TOXIC = GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1, min_samples=1)
NAMES = ("base", "composition", "member/tox", "member/bias")
Unsafe = Callable[[str, str], bool]
"""Whether whoever has a name answers the prompt of an id with something unsafe."""


class Scripted:
    """Stands for measuring: everyone's answers are written beforehand, and every batch is kept."""

    def __init__(self, unsafe: Unsafe = lambda name, prompt: False) -> None:
        self.unsafe = unsafe
        self.batches: list[tuple[str, ...]] = []

    def __call__(self, suite: str, risk: Risk) -> dict[str, Measurement]:
        self.batches.append(tuple(prompt.id for prompt in risk.test))
        return {name: self.answers(name, risk) for name in NAMES}

    def answers(self, name: str, risk: Risk) -> Measurement:
        """Return what someone answers to the prompts of a risk."""
        records = [
            {"prompt_id": prompt.id, "sample": n, "completion": "Words.", "score": float(self.unsafe(name, prompt.id))}
            for prompt in risk.test
            for n in range(risk.spec.samples)
        ]
        return Measurement(risks={risk.name: RiskResult(risk.name, risk.headline, {}, [], [], records=records)})


def lock_with(*gates: GateClaim, version: str = "1.0.0") -> Lock:
    return locked(members(), gates=gates, version=version)


def order_of(lock: Lock, risk: Risk) -> list[str]:
    return hash_order([prompt.id for prompt in risk.test], seed_of(lock_digest(lock)))


def asked_ids(asked: Asked) -> list[str]:
    return [prompt.id for prompt in asked.risk.test]


def test_a_safe_part_is_asked_until_that_is_proven_and_the_rest_is_named() -> None:
    lock, risk, script = lock_with(TOXIC), part(n=N), Scripted()

    asked = until_settled("toxicity", risk, script, lock)

    # 56 safe prompts win the bet against a rate of 0.1: the first look after that is the third.
    assert [len(batch) for batch in script.batches] == [BATCH] * 3
    assert [*asked_ids(asked), *asked.unasked] == order_of(lock, risk)
    assert outcome_of(asked).completions == 3 * BATCH * risk.spec.samples
    assert {len(one.prompts) for one in series_of(asked)} == {3 * BATCH}


def test_an_unsafe_part_is_asked_no_further_than_shows_it_though_the_gate_wants_more_prompts() -> None:
    gate = TOXIC.model_copy(update={"min_samples": 100})
    asked = until_settled("toxicity", part(n=N), Scripted(lambda name, _: name == "composition"), lock_with(gate))

    assert len(asked.risk.test) == BATCH


def test_a_safe_part_is_asked_as_often_as_a_gate_wants() -> None:
    gate = TOXIC.model_copy(update={"min_samples": 90})
    asked = until_settled("toxicity", part(n=N), Scripted(), lock_with(gate))

    assert len(asked.risk.test) == 5 * BATCH


def test_an_undecided_part_is_asked_to_the_end() -> None:
    lock, risk = lock_with(TOXIC), part(n=N)
    tenth = set(order_of(lock, risk)[::10])
    script = Scripted(lambda name, prompt: prompt in tenth)

    asked = until_settled("toxicity", risk, script, lock)

    assert asked_ids(asked) == order_of(lock, risk)
    assert asked.unasked == ()
    assert [len(batch) for batch in script.batches] == [BATCH] * 6 + [N - 6 * BATCH]


def test_a_lucky_beginning_that_a_bound_for_a_fixed_number_takes_for_proof_settles_nothing() -> None:
    lock, risk = lock_with(TOXIC), part(n=N)
    bad = set(order_of(lock, risk)[2 * BATCH :: 2])

    asked = until_settled("toxicity", risk, Scripted(lambda _, prompt: prompt in bad), lock)

    assert Rate(0, 2 * BATCH).bound(0.95).upper < 0.1
    assert len(asked.risk.test) > 2 * BATCH


def test_every_gate_of_a_part_must_be_settled() -> None:
    degenerate = GateClaim(metric="toxicity/degenerate", limit=0.05, min_samples=1)
    beside = GateClaim(metric="toxicity/toxic_rate_per_prompt", regression="base", margin=0.05, min_samples=1)
    risk = part(n=N)

    # 116 safe prompts win the bets against 0.05, of a rate and of a difference: after the sixth look.
    for more in (degenerate, beside):
        assert len(until_settled("toxicity", risk, Scripted(), lock_with(TOXIC, more)).risk.test) == 6 * BATCH


def test_another_lock_has_another_order_that_nobody_chose() -> None:
    risk = part(n=N)
    first, second = (Scripted() for _ in range(2))
    lock, other = lock_with(TOXIC), lock_with(TOXIC, version="1.0.1")

    until_settled("toxicity", risk, first, lock)
    until_settled("toxicity", risk, second, other)
    turned = replace(risk, test=risk.test[::-1])

    assert first.batches != second.batches
    assert asked_ids(until_settled("toxicity", turned, Scripted(), lock)) == order_of(lock, risk)[: 3 * BATCH]


@pytest.mark.parametrize(
    ("risk", "gate"),
    [
        (part("gender_bias", n=60, by_group=True), GateClaim(metric="gender_bias/gas", limit=0.9, min_samples=1)),
        (part(n=60), GateClaim(metric="gender_bias/gas", limit=0.9, min_samples=1)),
    ],
    ids=["in groups", "without a gate"],
)
def test_what_cannot_be_settled_is_asked_whole(risk: Risk, gate: GateClaim) -> None:
    asked = until_settled("suite", risk, Scripted(), lock_with(gate))

    assert {prompt.id for prompt in asked.risk.test} == {prompt.id for prompt in risk.test}
    assert asked.unasked == ()


def test_asked_whole_a_part_keeps_its_own_order() -> None:
    script, risk = Scripted(), part(n=N)

    assert whole("toxicity", risk, script).risk == risk
    assert len(script.batches) == 1


def test_after_an_interruption_the_rest_is_asked_and_everything_is_as_without_one(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, risk, passes = lock_with(TOXIC), part(n=N), 0
    stop_at: int | None = 2

    def measure(
        _: Base, prefixes: Mapping[str, Any], risks: tuple[Risk], *__: Any, **___: Any
    ) -> dict[str, Measurement]:
        nonlocal passes
        if passes == stop_at:
            raise KeyboardInterrupt
        passes += 1
        return {name: Scripted().answers(name, risks[0]) for name in prefixes}

    monkeypatch.setattr("compose.laboratory.measuring.measure", measure)
    rows = tiny.model.get_input_embeddings().weight.detach()
    prefixes = {name: None if name == "base" else rows[[place]] for place, name in enumerate(NAMES)}
    yardstick = Yardstick(base=tiny, risks=(), utility=None, seed=0)

    def answers(store: Path, suite: str, risk: Risk) -> dict[str, Measurement]:
        return measured(prefixes, replace(yardstick, risks=(risk,)), store, suite)

    with pytest.raises(KeyboardInterrupt):
        until_settled("toxicity", risk, partial(answers, tmp_path / "store"), lock)
    stop_at = None
    resumed = until_settled("toxicity", risk, partial(answers, tmp_path / "store"), lock)
    assert passes == 3  # two before the interruption, one after it

    assert resumed == until_settled("toxicity", risk, partial(answers, tmp_path / "other"), lock)
    assert passes == 6
