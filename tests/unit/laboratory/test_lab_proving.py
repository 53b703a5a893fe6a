"""Which suites a lock is measured on, and what they are known by."""

from __future__ import annotations

from compose.laboratory.proving import passages_pin, pin_of, suites_of, wants_utility
from compose.trust.claims import GateClaim
from compose.trust.suites import ids_digest
from tests.unit.laboratory.parts import part
from tests.unit.trust.cases import locked, members, patch


def test_a_suite_is_pinned_with_how_its_completions_are_drawn() -> None:
    class Fake:
        digest = "sha256:" + "d" * 64
        risks = (part(by_group=True),)

    known = pin_of(Fake()).parts["part"]  # type: ignore[arg-type]

    assert known.sampling == "8 tokens, temperature 0.5, top-p 0.9, as text to continue"
    assert (known.n_prompts, known.samples, known.grouped, known.judge_version) == (3, 2, True, "1")
    assert known.ids == ids_digest(prompt.id for prompt in part().test)


def test_passages_are_pinned_by_their_ids_alone_and_with_everything_that_utility_is_measured_with() -> None:
    class Useful:
        test_digest = "sha256:" + "d" * 64
        neutral_test = part().test

    known = passages_pin(Useful())  # type: ignore[arg-type]

    assert (known.digest, known.ids) == (Useful.test_digest, ids_digest(prompt.id for prompt in part().test))


def test_a_lock_is_measured_on_its_suites_or_on_those_of_its_risks_and_gates() -> None:
    lock = locked(members())
    named = locked(members(), suites=("toxicity_rtp",))
    other = locked((*members(), patch("harm", "harmfulness"), patch("tone", "rudeness")))

    assert suites_of(lock) == ("toxicity", "gender_bias", "over_refusal")
    assert suites_of(named) == ("toxicity_rtp",)
    assert suites_of(other) == ("toxicity", "gender_bias", "harmfulness", "over_refusal")


def test_utility_is_left_out_only_where_a_lock_names_its_suites_and_no_gate_asks_for_it() -> None:
    gates = (GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1),)

    assert wants_utility(locked(members(), gates=gates))
    assert not wants_utility(locked(members(), gates=gates, suites=("toxicity",)))
    assert wants_utility(locked(members(), suites=("toxicity",)))
