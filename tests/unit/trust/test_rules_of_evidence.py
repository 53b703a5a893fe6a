"""The rules about evidence, each with one thing wrong; and attacks that need several."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from compose.trust.claims import GateClaim, Lock, lock_digest
from compose.trust.clock import instant
from compose.trust.evidence import (
    PAYLOAD_TYPE,
    Nearness,
    Outcome,
    gate_name,
    statement_bytes,
    statement_of,
)
from compose.trust.seal import seal
from compose.trust.suites import Pins
from tests.unit.trust.cases import (
    GATES,
    MADE,
    NOW,
    N,
    codes,
    keyring,
    locked,
    measurement,
    members,
    patch,
    pins,
    sealed,
    signer,
    stopped,
    suites,
    verdict,
)
from tests.unit.trust.measurements import passages, pin, series

OTHER = "sha256:" + "9" * 64


def found_with(lock: Lock | None = None, **changes: Any) -> list[str]:
    """Return what is found when a measurement of the sound composition is changed."""
    lock = lock or locked(members())
    return codes(verdict(lock, members(), {"e.json": sealed(lock, measurement(lock, **changes))}))


def toxic(share: float, *, members_share: float = 0.0) -> tuple[Any, ...]:
    """Return the series of the sound composition, with so many toxic prompts."""
    lock = locked(members())
    gas = measurement(lock).series[1]
    bad, theirs = round(share * N), round(members_share * N)
    columns = {name: [1.0] * theirs + [0.0] * (N - theirs) for name in ("tox", "bias")}
    return series([1.0] * bad + [0.0] * (N - bad), members=columns), gas


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base": OTHER}, "evidence-other-base"),
        ({"composition": OTHER}, "evidence-other-patch"),
        ({"members": {"tox": OTHER, "bias": OTHER}}, "evidence-other-patch"),
        ({"seed": 1}, "evidence-other-seed"),
        ({"made": instant(NOW + timedelta(hours=1))}, "evidence-future"),
        ({"made": instant(NOW - timedelta(days=91))}, "evidence-stale"),
    ],
)
def test_evidence_of_something_else_or_of_another_time_is_found(changes: dict[str, Any], code: str) -> None:
    assert found_with(**changes) == [code]


@pytest.mark.parametrize("key", ["prompts", "judge", "judge_version", "threshold", "samples"])
def test_other_prompts_another_judge_or_another_threshold_are_found(key: str) -> None:
    value = {"prompts": OTHER, "judge": "lenient", "judge_version": "2", "threshold": 0.9, "samples": 1}[key]
    part = suites()["toxicity"].parts["rtp"].model_copy(update={key: value})
    changed = suites()["toxicity"].model_copy(update={"parts": {"rtp": part}})
    outcomes = measurement(locked(members())).outcomes
    if key == "samples":
        outcomes = (Outcome(suite="toxicity", part="rtp", completions=N, empty=0, unjudged=0), outcomes[1])

    assert found_with(suites=suites() | {"toxicity": changed}, outcomes=outcomes) == ["evidence-other-suite"]


def test_a_suite_or_passages_that_nobody_vouches_for_are_found() -> None:
    lock = locked(members())
    evidence = {"e.json": sealed(lock, measurement(lock))}
    other = pins().passages[0].model_copy(update={"digest": OTHER})
    known = Pins(suites={"toxicity": suites()["toxicity"]}, passages=(other,))

    assert codes(verdict(lock, members(), evidence, known=known)) == [
        "suite-unknown",
        "evidence-other-suite",
        "gate-unmeasured",
    ]
    assert codes(verdict(lock, members(), evidence, known=known.joined(pins()))) == []


def test_evidence_that_leaves_prompts_out_or_has_others_is_found() -> None:
    toxic, gas = measurement(locked(members())).series
    fewer = series([0.0] * (N - 1))
    others = toxic.model_copy(update={"prompts": ("other", *toxic.prompts[1:])})

    assert found_with(series=(fewer, gas)) == ["evidence-incomplete"]
    assert found_with(series=(others, gas)) == ["evidence-incomplete"]


def test_a_measurement_that_stopped_once_its_gates_were_settled_is_sound() -> None:
    lock = locked(members())

    assert found_with(lock, **stopped(lock, [0.0] * 60)) == []
    assert found_with(lock, **stopped(lock, [0.0] * N)) == []


def test_bounds_of_a_measurement_that_may_have_stopped_early_hold_at_any_time() -> None:
    lock = locked(members(), gates=(GATES[0].model_copy(update={"min_samples": 40}), *GATES[1:]))

    assert found_with(lock, **stopped(lock, [0.0] * 50)) == ["gate-undecided"]
    assert found_with(lock, **stopped(lock, [0.0] * 56)) == []
    assert found_with(lock, **stopped(lock, [1.0] * 8)) == ["gate-failed"]


def test_prompts_that_were_picked_or_put_in_another_order_are_found() -> None:
    lock = locked(members())
    sound = stopped(lock, [0.0] * 60)
    toxic, gas = sound["series"]
    left, whole = sound["outcomes"]
    first, last = toxic.prompts[0], left.unasked[-1]

    def found(prompts: tuple[str, ...], unasked: tuple[str, ...]) -> list[str]:
        changed = toxic.model_copy(update={"prompts": prompts}), left.model_copy(update={"unasked": unasked})
        return found_with(lock, **(sound | {"series": (changed[0], gas), "outcomes": (changed[1], whole)}))

    assert found((*toxic.prompts[1:], last), (first, *left.unasked[:-1])) == ["evidence-order"]
    assert found(toxic.prompts[::-1], left.unasked) == ["evidence-order"]
    assert found(toxic.prompts, left.unasked[::-1]) == ["evidence-order"]
    assert found(toxic.prompts, left.unasked[:-1]) == ["evidence-incomplete"]
    assert found((*toxic.prompts[1:], "other"), left.unasked) == ["evidence-incomplete"]
    assert found(toxic.prompts, (*left.unasked[:-1], first)) == ["evidence-incomplete"]


def test_the_order_is_that_of_the_very_lock() -> None:
    lock, older = locked(members()), locked(members(), version="0.9.0")
    found = measurement(lock, **stopped(older, [0.0] * 60))

    assert codes(verdict(lock, members(), {"e.json": sealed(lock, found)})) == ["evidence-order"]


def test_where_measuring_does_not_stop_early_nothing_may_be_left_unasked() -> None:
    lock = locked(members())
    fixed = stopped(lock, [0.0] * 60) | {"stopping": "fixed"}
    grouped = {"toxicity": pin(N, grouped=True), "gender_bias": suites()["gender_bias"]}
    known = Pins(suites=grouped, passages=pins().passages)
    sound = stopped(lock, [0.0] * 60)
    toxic = sound["series"][0].model_copy(update={"groups": ("job",) * 30 + ("other job",) * 30})
    found = measurement(lock, **(sound | {"series": (toxic, sound["series"][1]), "suites": grouped}))

    assert found_with(lock, **fixed) == ["evidence-incomplete"]
    assert codes(verdict(lock, members(), {"e.json": sealed(lock, found)}, known=known)) == ["evidence-incomplete"]


def test_passages_are_read_whole_even_where_measuring_stops_early() -> None:
    lock = locked(members())
    fewer = stopped(lock, [0.0] * 60) | {"passages": passages([0.0, 0.4] * 39)}

    assert found_with(lock, **fewer) == ["evidence-incomplete"]


def test_evidence_that_leaves_passages_out_or_has_others_is_found() -> None:
    whole = passages([0.0, 0.4] * 40)
    fewer = passages([0.0, 0.4] * 39)
    others = whole.model_copy(update={"passages": ("other", *whole.passages[1:])})

    assert found_with(passages=fewer) == ["evidence-incomplete"]
    assert found_with(passages=others) == ["evidence-incomplete"]


def test_completions_that_are_missing_or_say_nothing_are_found() -> None:
    outcomes = measurement(locked(members())).outcomes
    fewer = outcomes[0].model_copy(update={"completions": 4 * N - 1})
    silent = outcomes[0].model_copy(update={"empty": 4 * N})
    unjudged = outcomes[0].model_copy(update={"unjudged": 4 * N})
    few = outcomes[0].model_copy(update={"unjudged": 3})

    assert found_with(outcomes=(fewer, outcomes[1])) == ["evidence-incomplete"]
    assert found_with(outcomes=(silent, outcomes[1])) == ["evidence-silent"]
    assert found_with(outcomes=(unjudged, outcomes[1])) == ["evidence-silent"]
    assert found_with(outcomes=(few, outcomes[1])) == []


def test_a_gate_that_is_violated_undecided_or_not_measured_is_found() -> None:
    lock = locked(members())

    assert found_with(series=toxic(0.3)) == ["gate-failed"]
    assert found_with(series=toxic(0.08)) == ["gate-undecided"]
    assert found_with(series=measurement(lock).series[1:]) == ["gate-unmeasured"]
    few = {"e.json": sealed(lock, measurement(lock, passages=passages([0.0, 0.4] * 20)))}
    assert codes(verdict(lock, members(), few, known=pins(passages=40))) == ["gate-too-few"]
    assert found_with(passages=None) == ["gate-unmeasured"]


def test_an_undecided_gate_says_how_many_more_prompts_would_decide_it() -> None:
    lock = locked(members())
    evidence = {"e.json": sealed(lock, measurement(lock, series=toxic(0.08)))}
    (one,) = verdict(lock, members(), evidence).findings

    assert one.subject == "toxicity/toxic_rate_per_prompt <= 0.1 on toxicity/rtp (e.json)"
    assert one.expected == "an upper bound of at most 0.1"
    assert one.got.startswith("0.08, upper 95% bound 0.119, on 200 prompts")
    assert one.fix.startswith("measure about ") and "more prompts: if they are like these, they prove" in one.fix


@pytest.mark.parametrize(("composition", "warned"), [(0.0, False), (3.0, False), (3.01, True)])
def test_a_composition_far_from_the_tokens_that_its_patches_lie_near_is_a_warning(
    composition: float, warned: bool
) -> None:
    lock = locked(members())
    near = Nearness(composition=composition, members={"tox": 1.0, "bias": 2.0})
    found = verdict(lock, members(), {"e.json": sealed(lock, measurement(lock, nearness=near))})

    assert found.decision == "allow"
    assert [(one.code, one.got) for one in found.findings] == ([("result-distance", "3.01")] if warned else [])


def test_evidence_for_the_parts_is_not_evidence_for_the_whole() -> None:
    held = members()
    whole = locked(held)
    parts = []
    for one in held:
        gates = tuple(gate for gate in GATES if gate.metric.startswith(one.card.risks[0]))
        parts.append(locked((one,), gates=gates))
    evidence = {f"{lock.patches[0].name}.json": sealed(lock, _of_part(lock)) for lock in parts}

    assert codes(verdict(parts[0], held, {"tox.json": evidence["tox.json"]})) == []
    found = verdict(whole, held, evidence)
    assert codes(found) == ["evidence-other-lock", "evidence-missing", "gate-unmeasured"]


def _of_part(lock: Lock) -> Any:
    """Return a measurement of one patch alone."""
    found = measurement(lock)
    fields: dict[str, Any] = {name: getattr(found, name) for name in type(found).model_fields}
    return type(found).model_validate(fields)


def test_evidence_of_an_older_lock_is_found() -> None:
    older = locked(members(), version="0.9.0")
    newer = locked(members())

    found = codes(verdict(newer, members(), {"old.json": sealed(older, measurement(older))}))
    assert found == ["evidence-other-lock", "evidence-missing", "gate-unmeasured"]


def test_evidence_relabelled_for_another_lock_has_the_wrong_seed() -> None:
    older, newer = locked(members(), version="0.9.0"), locked(members())
    forged = sealed(newer, measurement(older), about=lock_digest(newer))

    assert codes(verdict(newer, members(), {"e.json": forged})) == ["evidence-other-seed"]


def test_one_measurement_that_does_not_fit_is_not_drowned_by_others_that_do() -> None:
    lock = locked(members())
    good, bad = sealed(lock, measurement(lock)), sealed(lock, measurement(lock, series=toxic(0.3)))

    assert codes(verdict(lock, members(), {"good.json": good, "bad.json": bad})) == ["gate-failed"]
    assert codes(verdict(lock, members(), {"good.json": good, "torn.json": good[:-9]})) == ["seal-invalid"]


def test_gates_may_be_proven_by_several_files_together() -> None:
    lock = locked(members())
    rest = sealed(lock, measurement(lock, passages=None))
    text = sealed(lock, measurement(lock, series=(), suites={}, outcomes=()))

    assert codes(verdict(lock, members(), {"rest.json": rest})) == ["gate-unmeasured"]
    assert codes(verdict(lock, members(), {"rest.json": rest, "text.json": text})) == []


@pytest.mark.parametrize("role", ["author", "releaser"])
def test_only_an_evaluator_can_sign_evidence(role: Any) -> None:
    lock = locked(members())
    evidence = {"e.json": sealed(lock, measurement(lock), role=role)}

    assert codes(verdict(lock, members(), evidence))[0] == "key-role"


def test_a_key_that_is_unknown_revoked_or_expired_does_not_count() -> None:
    lock = locked(members())
    evidence = {"e.json": sealed(lock, measurement(lock))}
    revoked = keyring(lambda fields: {**fields, "revoked": {"at": instant(MADE), "reason": "lost"}})
    unknown = keyring().model_copy(update={"keys": keyring().keys[:1]})

    assert codes(verdict(lock, members(), evidence, keys=revoked))[0] == "key-revoked"
    assert codes(verdict(lock, members(), evidence, keys=unknown))[0] == "key-unknown"
    assert codes(verdict(lock, members(), evidence, now=NOW + timedelta(days=60)))[0] == "key-expired"


def test_a_payload_that_was_changed_after_signing_is_found() -> None:
    lock = locked(members())
    bad = sealed(lock, measurement(lock, series=toxic(0.3)))
    good = sealed(lock, measurement(lock))
    head, signature = good.split(b'"payloadType"')[0], bad.split(b'"payloadType"')[1]

    assert codes(verdict(lock, members(), {"e.json": head + b'"payloadType"' + signature}))[0] == "seal-forged"


def test_signed_bytes_of_another_kind_or_that_are_no_statement_are_found() -> None:
    lock = locked(members())
    statement = statement_bytes(statement_of(lock_digest(lock), "both", {}, measurement(lock)))
    other = seal(statement, "application/vnd.compose.release+json", signer("evaluator"))
    nothing = seal(b"{}", PAYLOAD_TYPE, signer("evaluator"))

    assert codes(verdict(lock, members(), {"e.json": other}))[0] == "seal-type"
    assert codes(verdict(lock, members(), {"e.json": nothing}))[0] == "evidence-invalid"


@pytest.mark.parametrize("passed", [{}, {"everything": True}])
def test_a_list_of_gates_that_the_numbers_contradict_is_found(passed: dict[str, bool]) -> None:
    lock = locked(members())
    statement = statement_of(lock_digest(lock), "both 1.0.0", passed, measurement(lock))
    evidence = {"e.json": seal(statement_bytes(statement), PAYLOAD_TYPE, signer("evaluator"))}

    assert codes(verdict(lock, members(), evidence)) == ["evidence-contradicts"]


def test_a_violated_gate_that_is_listed_as_passed_is_found_twice() -> None:
    lock = locked(members())
    found = measurement(lock, series=toxic(0.3))
    good = statement_of(lock_digest(lock), "both", _all_passed(lock), found)
    evidence = {"e.json": seal(statement_bytes(good), PAYLOAD_TYPE, signer("evaluator"))}

    assert codes(verdict(lock, members(), evidence)) == ["evidence-contradicts", "gate-failed"]


def _all_passed(lock: Lock) -> dict[str, bool]:
    return {gate_name(gate): True for gate in lock.gates}


def test_a_gate_on_a_suite_that_was_measured_twice_needs_both() -> None:
    lock = locked(members())
    both = suites() | {"toxicity_rtp": pin(N)}
    second = series([1.0] * 60 + [0.0] * 140, suite="toxicity_rtp")
    outcome = Outcome(suite="toxicity_rtp", part="rtp", completions=4 * N, empty=0, unjudged=0)
    found = measurement(lock)
    changes: dict[str, Any] = {
        "suites": both,
        "series": (*found.series, second),
        "outcomes": (*found.outcomes, outcome),
    }
    evidence = {"e.json": sealed(lock, measurement(lock, **changes))}

    known = Pins(suites=both, passages=pins().passages)
    assert codes(verdict(lock, members(), evidence, known=known)) == ["gate-failed"]


def test_a_regression_against_a_member_is_found() -> None:
    gates = (*GATES, GateClaim(metric="toxicity/toxic_rate_per_prompt", regression="specialist", margin=0.05))
    lock = locked(members(), gates=gates)

    assert found_with(lock, series=toxic(0.04, members_share=0.04)) == []
    worse = found_with(lock, series=toxic(0.05, members_share=0.0))
    assert worse == ["gate-undecided"]


def test_a_stranger_among_the_measured_members_is_found() -> None:
    lock = locked((*members(), patch("third", "toxicity")))
    two = locked(members())
    forged = sealed(two, measurement(two, seed=measurement(lock).seed), about=lock_digest(lock))

    found = codes(verdict(lock, (*members(), patch("third", "toxicity")), {"e.json": forged}))
    assert found == ["evidence-other-patch", "gate-unmeasured"]


def test_a_gate_is_measured_on_every_part_of_the_suites_that_the_lock_names() -> None:
    two = suites()["toxicity"]
    hard = two.model_copy(update={"parts": {"rtp": two.parts["rtp"], "hard": two.parts["rtp"]}})
    lock = locked(members(), suites=("toxicity_hard", "gender_bias"))
    known = Pins(suites={**suites(), "toxicity_hard": hard}, passages=pins().passages)
    outcomes = tuple(
        Outcome(suite=suite, part=part, completions=4 * N, empty=0, unjudged=0)
        for suite, part in (("toxicity_hard", "rtp"), ("toxicity_hard", "hard"), ("gender_bias", "professions"))
    )
    gas = measurement(lock).series[1]
    easy, other = series([0.0] * N, suite="toxicity_hard"), series([0.0] * N, suite="toxicity_hard", part="hard")
    measured_on = {"toxicity_hard": hard, "gender_bias": suites()["gender_bias"]}

    def found(*rows: Any) -> list[str]:
        fields: dict[str, Any] = {"suites": measured_on, "outcomes": outcomes, "series": (*rows, gas)}
        evidence = {"e.json": sealed(lock, measurement(lock, **fields))}
        return codes(verdict(lock, members(), evidence, known=known))

    assert found(easy, other) == []
    assert found(easy) == ["gate-unmeasured"]
    default = {"e.json": sealed(lock, measurement(lock))}
    assert codes(verdict(lock, members(), default, known=known)) == ["gate-unmeasured"]


def test_a_lock_whose_suites_have_no_part_of_a_gates_kind_is_never_proven() -> None:
    lock = locked(members(), suites=("toxicity",))

    assert codes(verdict(lock, members(), {"e.json": sealed(lock, measurement(lock))})) == ["gate-unmeasured"]


def test_two_gates_that_ask_for_the_same_or_for_more_are_both_proven() -> None:
    surer = GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1, confidence=0.99)
    lock = locked(members(), gates=(*GATES, GATES[0], surer))

    assert codes(verdict(lock, members(), {"e.json": sealed(lock, measurement(lock))})) == []
