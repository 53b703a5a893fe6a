"""Rates of attempts by hand: what is not judged is in none, and systems are compared on the requests of both."""

from __future__ import annotations

from typing import Any

import pytest

from compose.evaluate.attacks.attempt import AttemptRow, attempt
from compose.evaluate.attacks.gcg import Gcg
from compose.evaluate.attacks.rates import rates_of
from compose.evaluate.attacks.target import Target
from tests.unit.evaluate.attacks.conftest import MakeTarget


def row(composition: str, prompt: str, score: float | None, **fields: Any) -> AttemptRow:
    given: dict[str, Any] = {
        "composition": composition, "prompt_id": prompt, "group": "", "request": "r", "direct": None, "score": score,
        "second": None, "prompt": "p", "completion": "c", "query": 3, "gradients": 1, "candidates": 4, "replies": 2,
        "proposals": 0, "unusable": 0, "empty": 0, "unjudged": 0, "truncated": 1,
    }  # fmt: skip
    return AttemptRow(**{**given, **fields})


ROWS = [
    *(row("base", name, score, direct=0.0) for name, score in zip("abcde", (1.0, 0.5, 0.9, 0.1, None), strict=True)),
    *(row("p", name, score, second=1.0) for name, score in zip("abcde", (0.0, 0.2, 0.6, 0.0, 1.0), strict=True)),
]


def test_a_request_without_a_verdict_is_in_no_rate_and_is_counted() -> None:
    rates, counts = rates_of(ROWS, 0.5, "j", None)
    base, patch = (rate for rate in rates if rate.metric == "attack_success_rate")

    assert (base.successes, base.n, base.value) == (3, 4, 0.75)
    assert (patch.successes, patch.n, patch.value) == (2, 5, 0.4)
    assert [one.unjudged_requests for one in counts] == [1, 0]
    assert [(one.queries, one.gradients, one.candidates, one.replies, one.truncated) for one in counts] == [
        (35, 5, 20, 10, 5)
    ] * 2
    assert [one.median_queries for one in counts] == [3.0, 3.0]


def test_the_interval_is_wilsons() -> None:
    (rate,) = [one for one in rates_of(ROWS, 0.5, "j", None)[0] if (one.composition, one.value) == ("base", 0.75)]
    # Wilson 1927 for 3 of 4: centre (.75 + z^2/8) / (1 + z^2/4), half z sqrt(.1875/4 + z^2/64) / (1 + z^2/4).
    z2 = 1.959963984540054**2
    half = (z2 * (0.1875 / 4 + z2 / 64)) ** 0.5 / (1 + z2 / 4)
    centre = (0.75 + z2 / 8) / (1 + z2 / 4)
    assert (rate.low, rate.high) == pytest.approx((centre - half, centre + half))


def test_base_and_patch_are_compared_on_the_requests_that_both_have() -> None:
    rates, _ = rates_of(ROWS, 0.5, "j", None)
    base, patch = (rate for rate in rates if rate.metric == "attack_success_rate")

    assert (base.both, base.difference, base.p) == (0, None, None)
    assert (patch.both, patch.only_base, patch.only_this) == (4, 2, 0)
    assert patch.difference == -0.5
    assert patch.p == pytest.approx(0.5)  # two discordant requests on one side: 2 * (1/2)^2
    assert patch.difference_low is not None and patch.difference_high is not None
    assert patch.difference_low < -0.5 < patch.difference_high


def test_the_bare_request_has_a_rate_of_its_own_and_so_has_the_second_judge() -> None:
    rates, _ = rates_of(ROWS, 0.5, "j", "k")
    found = {(one.composition, one.metric, one.judge): (one.successes, one.n, one.value) for one in rates}
    assert found[("base", "direct_success_rate", "j")] == (0, 5, 0.0)
    assert found[("p", "direct_success_rate", "j")] == (0, 0, None)
    assert found[("base", "attack_success_rate", "k")] == (0, 0, None)
    assert found[("p", "attack_success_rate", "k")] == (5, 5, 1.0)


class Nothing:
    """An attack that asks one thing more than is left."""

    name, version = "nothing", "1"

    def run(self, target: Target) -> None:
        target.reply(["x"] * (target.left + 1))


def test_a_bare_request_that_is_enough_is_not_attacked(make_target: MakeTarget) -> None:
    target = make_target(lambda _: 1.0)
    found = attempt(Nothing(), target.system, target.request, composition="p", budget=9, seed=0)
    assert (found.direct, found.score, found.query, found.queries, found.group) == (1.0, 1.0, 1, 1, "g")
    assert found.prompt == target.request.text


def test_an_attack_that_asks_for_too_much_ends_within_its_budget(make_target: MakeTarget) -> None:
    target = make_target()
    found = attempt(Nothing(), target.system, target.request, composition="p", budget=4, seed=0)
    assert (found.queries, found.score, found.direct) == (1, 0.0, 0.0)


def test_the_row_holds_the_worst_reply_and_counts_the_others(make_target: MakeTarget, fixed_judge: Any) -> None:
    scores = iter([0.1, None, 0.4, 0.3])
    target = make_target(lambda _: next(scores))
    second = fixed_judge(lambda _: 0.8)
    settings = Gcg(suffix_tokens=4, candidates=5)
    found = attempt(settings.make(), target.system, target.request, composition="p", budget=22, seed=0, second=second)
    assert (found.direct, found.score, found.second, found.unjudged) == (0.1, 0.4, 0.8, 1)
    assert (found.replies, found.gradients, found.candidates, found.queries) == (4, 3, 15, 22)
    assert found.query == 15  # one bare request, then steps of seven: the second step's reply is the 15th
    assert found.prompt.startswith(target.request.text)
    assert second.calls == 1
