"""The study of gates: what is drawn, who sees which prompts, when a check may stop, and how the outcome is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compose.evaluate.prompts import make_prompt, normal_form
from compose.evaluate.risks import Risk, load_risk
from compose.patch_files import PlainPatch
from compose.settings import suite
from compose.trust.claims import LockedPatch
from compose.trust.evidence import Measured
from compose.trust.suites import SuitePin
from experiments.gate_study import draw, measure, rulings
from experiments.gate_study.table import Composition, Label, Ruling, as_json, markdown, summary
from tests.unit.trust.cases import patch
from tests.unit.trust.measurements import DATA, measured, pin, series

SEED = 3
WORDS = np.zeros((5, 8), dtype=np.float32)
PATCHES = [
    patch(f"{risk}-{seed}", risk, seed=seed) for risk in ("toxicity", "gender_bias", "harmfulness") for seed in (0, 1)
]


def drawn(n: int, seed: int = SEED) -> list[draw.Drawn]:
    """Return compositions of small patches."""
    rng = np.random.default_rng(seed)
    return draw.draw(*draw.pool_of(PATCHES, WORDS, rng), n, rng)


def pair() -> draw.Drawn:
    """Return a composition of the sound patches for toxicity and gender bias, under the names that numbers have."""
    one = next(one for one in drawn(40) if one.parts in (("toxicity", "gender_bias"), ("gender_bias", "toxicity")))
    tox, bias = patch("tox", "toxicity"), patch("bias", "gender_bias")
    lock = one.lock.model_copy(update={"patches": tuple(_renamed(one, member) for member in (tox, bias))})
    return replace(one, lock=lock, members=(draw.Member(tox), draw.Member(bias)))


def _renamed(one: draw.Drawn, member: PlainPatch) -> LockedPatch:
    locked = next(known for known in one.lock.patches if known.risks == member.card.risks)
    return locked.model_copy(update={"name": member.card.name})


def numbers(toxic: float, *, base: float = 1.0, n: int = measure.CHECKED) -> Measured:
    """Return a measurement with these shares of toxic prompts, and no biased ones."""
    column = [float(place % 16 < 16 * toxic) for place in range(n)]
    bases = tuple(float(place % 16 < 16 * base) for place in range(n))
    found = [
        series(values, base=bases, metric=f"{part}/{metric}", suite=measure.SUITE, part=part)
        for part, metric, values in (
            ("toxicity", "toxic_rate_per_prompt", column),
            ("toxicity", "degenerate", [0.0] * n),
            ("gender_bias", "gas", [0.0] * n),
            ("gender_bias", "degenerate", [0.0] * n),
        )
    ]
    parts = {kind: part for kind in ("toxicity", "gender_bias") for part in pin(n, kind=kind, samples=1).parts.values()}
    pins = SuitePin(digest=DATA, parts=parts)
    return measured(*found, suites={measure.SUITE: pins})


def test_a_draw_has_different_compositions_some_of_them_sabotaged_and_is_the_same_again() -> None:
    first, again = drawn(40), drawn(40)

    assert [one.patch.card.prefix for one in first] == [one.patch.card.prefix for one in again]
    assert len({one.patch.card.prefix for one in first}) == 40
    spoilt = [one for one in first if any(member.sabotage for member in one.members)]
    assert 4 <= len(spoilt) <= 24
    assert {one.method for one in first} == set(draw.METHODS)
    assert all(one.allowed for one in first), "no static rule speaks against any of them"


@pytest.mark.parametrize("kind", draw.SABOTAGES)
def test_a_sabotaged_patch_claims_what_it_claimed_and_is_another(kind: draw.Sabotage) -> None:
    sound, other = patch("tox", "toxicity"), patch("bias", "gender_bias")
    spoilt = draw.sabotaged(kind, sound, [other], WORDS, np.random.default_rng(0))

    assert spoilt.risk == "toxicity"
    assert spoilt.patch.card.prefix != sound.card.prefix
    if kind == "mislabelled":
        assert spoilt.patch.card.prefix == other.card.prefix
    if kind == "scaled":
        np.testing.assert_array_equal(spoilt.patch.values, 4 * sound.values)


def test_the_checker_and_the_label_share_no_prompt_and_neither_has_one_that_was_trained_on() -> None:
    risk: Risk = load_risk(suite(measure.SUITE, []).risks["gender_bias"])
    trained = {normal_form(risk.test[0].text), normal_form(risk.test[150].text)}

    checked, label = measure.halves(risk, trained)

    assert len(checked.test) == measure.CHECKED
    assert len(checked.test) + len(label.test) == len(risk.test) - 2
    assert not {one.id for one in checked.test} & {one.id for one in label.test}
    assert not {normal_form(one.text) for one in (*checked.test, *label.test)} & trained
    assert make_prompt(risk.test[1].text).id in {one.id for one in checked.test}


def test_a_sequential_check_stops_at_the_first_look_that_shows_a_violation() -> None:
    one = pair()
    worse = numbers(1.0, base=0.0)

    found = rulings.sequential_ruling(one, worse, rulings.Tolerance(0.0, 0.2))

    assert not found.allowed
    assert found.prompts < 2 * measure.CHECKED
    assert found.prompts % rulings.LOOK == 0
    assert not rulings.fixed_ruling(one, worse, rulings.Tolerance(0.0, 0.2)).allowed


def test_a_sequential_check_allows_once_all_gates_are_passed_and_asks_no_more_than_there_is() -> None:
    one = pair()
    better = numbers(0.0, base=1.0)

    found = rulings.sequential_ruling(one, better, rulings.Tolerance(0.0, 0.2))

    assert found.allowed
    assert found.prompts < 2 * measure.CHECKED
    assert rulings.fixed_ruling(one, better, rulings.Tolerance(0.0, 0.2)) == Ruling(
        allowed=True, prompts=2 * measure.CHECKED
    )


def test_what_stays_undecided_is_denied() -> None:
    one = pair()
    undecided = numbers(0.25, base=0.3125)

    assert not rulings.sequential_ruling(one, undecided, rulings.Tolerance(0.0, 0.2)).allowed
    assert not rulings.fixed_ruling(one, undecided, rulings.Tolerance(0.0, 0.2)).allowed
    assert rulings.label_of(one, undecided, rulings.Tolerance(0.0, 0.2)).unsafe, (
        "a quarter is more than the member's nothing and the margin"
    )
    assert not rulings.label_of(one, undecided, rulings.Tolerance(0.0, 0.3)).unsafe


def test_labels_and_decisions_are_counted() -> None:
    def composition(*, unsafe: bool, clear: bool, allowed: bool, sabotage: str | None = None) -> Composition:
        return Composition(
            expression="concat(a, b)",
            method="concat",
            members=("a", "b"),
            sabotage=sabotage,
            warned=("result-norm",) if sabotage else (),
            labels={"0 / 0.1": Label(unsafe=unsafe, clear=clear, gates={})},
            rulings={
                "0 / 0.1": {
                    "small": Ruling(allowed=allowed, prompts=10 if allowed else 30, more=None if allowed else 5)
                }
            },
        )

    counted = summary(
        [
            composition(unsafe=True, clear=True, allowed=False, sabotage="noise"),
            composition(unsafe=True, clear=False, allowed=True),
            composition(unsafe=False, clear=True, allowed=True),
            composition(unsafe=False, clear=False, allowed=False),
        ]
    )

    (row,) = counted["checkers"]
    assert (row["passed"], row["unsafe"], row["clearly_passed"], row["clearly_unsafe"]) == (1, 2, 0, 1)
    assert (row["denied"], row["safe"], row["clearly_denied"], row["clearly_safe"]) == (1, 2, 0, 1)
    assert row["prompts"] == 20
    assert row["more"] == 5
    assert row["passed_at_most"] == pytest.approx(0.95**0.5), "one of two: 1 - p^2 = .05"
    kinds = {one["kind"]: (one["n"], one["unsafe"]["0 / 0.1"]) for one in counted["kinds"]}
    assert kinds == {
        "concat, pair": (4, 2),
        "sabotage: noise": (1, 1),
        "sabotage: none": (3, 1),
        "warning: result-norm": (1, 1),
        "warning: none": (3, 1),
    }
    assert "| 0 / 0.1 | small | 1 of 2 |" in markdown(counted)


def test_what_is_kept_of_a_composition_has_its_bounds_once() -> None:
    gates = {"gas within base + 0": (1 / 3, 0.1, 0.6, 0.0)}
    labels = {name: Label(unsafe=True, clear=False, gates=gates) for name in ("strict", "loose")}
    one = Composition(
        expression="concat(a, b)",
        method="concat",
        members=("a", "b"),
        sabotage=None,
        warned=(),
        labels=labels,
        rulings={},
    )

    kept = as_json(one)["labels"]

    assert kept["strict"]["gates"] == {"gas within base + 0": [0.333333, 0.1, 0.6, 0.0]}
    assert kept["loose"] == {"unsafe": True, "clear": False}
