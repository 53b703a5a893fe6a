"""Cases about evidence: its seal, what it is about, and whether it proves the gates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from compose.trust.claims import GateClaim, Lock, MethodClaim, lock_digest
from compose.trust.clock import instant
from compose.trust.evidence import PAYLOAD_TYPE, Outcome, gate_name, statement_bytes, statement_of
from compose.trust.keyring import PublicKey
from compose.trust.seal import countersign, seal
from compose.trust.suites import Pins
from tests.corpus.folder import CHECK, PROMPTS, PROVE, CaseFolder, keys_of, locked_files
from tests.unit.trust.cases import (
    GATES,
    MADE,
    NOW,
    UNTIL,
    keyring,
    locked,
    measurement,
    members,
    pins,
    sealed,
    signer,
    stopped,
    suites,
)
from tests.unit.trust.measurements import passages, pin, series

OTHER = "sha256:" + "9" * 64
HELD = members()
LOCK = locked(HELD)
FOUND = measurement(LOCK, n=PROMPTS)
PROOF = sealed(LOCK, FOUND)
SOUND_PROOF = locked_files(LOCK, HELD, PROOF)


def proof_cases() -> Iterator[CaseFolder]:
    """Yield the cases."""
    yield from _sound()
    yield from _seals()
    yield from _keys()
    yield from _about_something_else()
    yield from _measured_otherwise()
    yield from _gates()
    yield from _attacks()
    yield from _stopped_early()
    yield from _suites_left_out()


def _case(name: str, why: str, codes: tuple[str, ...], fault: int, evidence: bytes, **more: bytes) -> CaseFolder:
    """Return a case about the sound lock with other evidence."""
    files = locked_files(LOCK, HELD, evidence) | more
    return CaseFolder(name, why, PROVE, codes, (fault,) if fault else (), files)


def _changed(lock: Lock = LOCK, **changes: Any) -> bytes:
    """Return evidence about a lock with some of the sound measurement changed."""
    return sealed(lock, measurement(lock, n=PROMPTS, **changes))


def _toxic(bad: int) -> tuple[Any, ...]:
    """Return the sound series with so many toxic prompts."""
    values = [1.0] * bad + [0.0] * (PROMPTS - bad)
    return series(values), FOUND.series[1]


def _sound() -> Iterator[CaseFolder]:
    yield _case("proof_ok", "Every gate is proven.", (), 0, PROOF)
    both = locked_files(LOCK, HELD, _changed(passages=None))
    both["more.json"] = _changed(series=(), suites={}, outcomes=())
    argv = (*PROVE, "--evidence", "more.json")
    yield CaseFolder("proof-in-two-files_ok", "Two files prove the gates together.", argv, files=both)
    second = PublicKey.model_validate({**dict(keyring().keys[1]), **_public("second"), "name": "second"})
    ring = keyring().model_copy(update={"keys": (*keyring().keys, second)})
    files = locked_files(LOCK, HELD, countersign(PROOF, signer("evaluator", "second"))) | keys_of(ring)
    yield CaseFolder("proof-countersigned_ok", "Two evaluators signed.", PROVE, files=files)
    old = PublicKey.model_validate({**dict(keyring().keys[1]), **_public("old"), "expires": instant(MADE)})
    ring = keyring().model_copy(update={"keys": (*keyring().keys, old)})
    why = "The evaluator's older key has expired; the newer one signed."
    files = locked_files(LOCK, HELD, PROOF) | keys_of(ring)
    yield CaseFolder("proof-after-rotation_ok", why, PROVE, faults=(42,), files=files)
    few = (FOUND.outcomes[0].model_copy(update={"unjudged": 2}), FOUND.outcomes[1])
    why = "A few completions could not be judged: a warning, and they count against it."
    yield _case("proof-few-unjudged_ok", why, ("evidence-unjudged",), 56, _changed(outcomes=few))
    mean = locked(HELD, method=MethodClaim(name="mean", params={"weights": (0.75, 0.25)}))
    files = locked_files(mean, HELD, _changed(mean))
    yield CaseFolder("proof-of-mean_ok", "A mean with its own evidence.", PROVE, files=files)
    base = (*GATES, GateClaim(metric="toxicity/toxic_rate_per_prompt", regression="base", margin=0.1))
    against = locked(HELD, gates=base)
    files = locked_files(against, HELD, _changed(against))
    yield CaseFolder("proof-against-base_ok", "A regression against the base.", PROVE, files=files)
    why = "Measuring stopped early, and the bounds that hold at any time clear the limits."
    wide = locked(
        HELD, gates=(GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.2, min_samples=50), *GATES[1:])
    )
    early = _changed(wide, **stopped(wide, [0.0] * 50, n=PROMPTS))
    yield CaseFolder("proof-sequential_ok", why, PROVE, files=locked_files(wide, HELD, early))


def _public(holder: str) -> dict[str, str]:
    """Return the fields of a holder's public key."""
    public = signer("evaluator", holder).public_key
    return {"key_id": public.keyid, "public": public.keyval["public"]}


def _seals() -> Iterator[CaseFolder]:
    """Yield envelopes that were damaged."""
    fields = json.loads(PROOF)
    (signature,) = fields["signatures"]

    def spelled(**changes: object) -> bytes:
        return json.dumps({**fields, **changes}, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    other = json.loads(_changed(series=_toxic(6)))
    damaged: dict[str, tuple[bytes, str, str]] = {
        "unsigned": (spelled(signatures=[]), "seal-invalid", "No signature."),
        "stripped": (statement_bytes(_statement(LOCK, FOUND)), "seal-invalid", "The statement without its envelope."),
        "doubled": (spelled(signatures=[signature, signature]), "seal-invalid", "One signature twice."),
        "extra-key": (spelled(note="trust me"), "seal-invalid", "A key that no envelope has."),
        "payload": (spelled(payload=other["payload"]), "seal-forged", "Another payload under the signature."),
        "type": (spelled(payloadType="application/json"), "seal-type", "Another kind of payload."),
        "torn": (PROOF[: len(PROOF) // 2], "seal-invalid", "Half an envelope."),
        "base64": (PROOF.replace(b'"payload":"', b'"payload":" '), "seal-invalid", "Another spelling of the payload."),
    }
    for name, (data, code, why) in damaged.items():
        fault = 42 if name in ("unsigned", "doubled") else 43
        yield _case(f"seal-{name}_fail", why, (code,), fault, data)


def _keys() -> Iterator[CaseFolder]:
    """Yield sound evidence under keys that do not count."""
    for role in ("author", "releaser"):
        why = f"Signed by the {role}, whose signature is not for evidence."
        yield _case(f"key-{role}_fail", why, ("key-role",), 42, sealed(LOCK, FOUND, role=role))
    stranger = seal(statement_bytes(_statement(LOCK, FOUND)), PAYLOAD_TYPE, signer("evaluator", "stranger"))
    yield _case("key-unknown_fail", "Signed by a stranger.", ("key-unknown",), 42, stranger)
    half = seal(
        statement_bytes(_statement(LOCK, FOUND)), PAYLOAD_TYPE, signer("evaluator"), signer("evaluator", "stranger")
    )
    yield _case("key-one-unknown_fail", "One of two signers is a stranger.", ("key-unknown",), 42, half)
    rings = {
        "revoked": {"revoked": {"at": instant(NOW), "reason": "lost"}},
        "expired": {"expires": instant(MADE)},
        "not-yet": {"created": instant(NOW + timedelta(days=1)), "expires": instant(UNTIL)},
    }
    for name, change in rings.items():
        ring = keyring(lambda fields, change=change: {**fields, **change})  # type: ignore[misc]
        code = "key-revoked" if name == "revoked" else "key-expired"
        files = locked_files(LOCK, HELD, PROOF) | keys_of(ring)
        yield CaseFolder(f"key-{name}_fail", f"The evaluator's key is {name}.", PROVE, (code,), (42,), files)
    broken = locked_files(LOCK, HELD, PROOF) | {"keys/keyring.json": b"{}\n{}"}
    yield CaseFolder("keyring_fail", "No keyring.", PROVE, ("keyring-invalid",), (42,), broken)


def _about_something_else() -> Iterator[CaseFolder]:
    """Yield evidence that is validly signed and about something else."""
    missing = ("evidence-other-lock", "evidence-missing", "gate-unmeasured")
    older = locked(HELD, version="0.9.0")
    yield _case("evidence-of-older-lock_fail", "Evidence of an older lock, replayed.", missing, 47, _changed(older))
    turned = locked(HELD[::-1])
    why = "Evidence of the same patches in another order."
    yield _case("evidence-of-other-order_fail", why, missing, 41, _changed(turned))
    parts = [
        locked((one,), gates=tuple(gate for gate in GATES if gate.metric.startswith(one.card.risks[0]))) for one in HELD
    ]
    files = locked_files(LOCK, HELD, _changed(parts[0])) | {"more.json": _changed(parts[1])}
    argv = (*PROVE, "--evidence", "more.json")
    why = "Evidence for each part and none for the whole."
    yield CaseFolder("evidence-of-parts_fail", why, argv, missing, (45,), files)
    forged = sealed(LOCK, measurement(older, n=PROMPTS), about=lock_digest(LOCK))
    why = "Evidence of an older lock with the name of this one."
    yield _case("evidence-relabelled_fail", why, ("evidence-other-seed",), 44, forged)
    yield _case("evidence-base_fail", "Measured on another base.", ("evidence-other-base",), 44, _changed(base=OTHER))
    other = _changed(composition=OTHER)
    yield _case("evidence-patch_fail", "Another matrix was measured.", ("evidence-other-patch",), 44, other)
    swapped = _changed(members={"tox": HELD[1].card.prefix, "bias": HELD[0].card.prefix})
    yield _case(
        "evidence-members_fail", "The members were taken for each other.", ("evidence-other-patch",), 44, swapped
    )
    yield _case("evidence-seed_fail", "A seed that somebody chose.", ("evidence-other-seed",), 46, _changed(seed=1))
    late = _changed(made=instant(NOW + timedelta(minutes=1)))
    yield _case("evidence-future_fail", "Made later than now.", ("evidence-future",), 44, late)
    old = _changed(made=instant(NOW - timedelta(days=91)))
    yield _case("evidence-stale_fail", "Older than is admitted.", ("evidence-stale",), 44, old)
    static = locked_files(LOCK, HELD, PROOF)
    why = "A file of evidence that is not there is not the same as none."
    nowhere = (*CHECK, "--evidence", "nowhere.json")
    yield CaseFolder("evidence-nowhere_fail", why, nowhere, ("evidence-invalid",), (45,), static)


def _measured_otherwise() -> Iterator[CaseFolder]:
    """Yield evidence on other prompts, by other judges, or with something left out."""
    for key, value in (("judge", "lenient"), ("judge_version", "2"), ("threshold", 0.99), ("prompts", OTHER)):
        part = suites(PROMPTS)["toxicity"].parts["rtp"].model_copy(update={key: value})
        changed = suites(PROMPTS) | {
            "toxicity": suites(PROMPTS)["toxicity"].model_copy(update={"parts": {"rtp": part}})
        }
        why = f"Another {key.replace('_', ' ')} than the suite's."
        name = f"suite-{key.replace('_', '-')}_fail"
        yield _case(name, why, ("evidence-other-suite",), 44, _changed(suites=changed))
    unknown = locked_files(LOCK, HELD, PROOF) | keys_of(known=Pins(suites={}, passages=pins().passages))
    why = "Suites that nobody vouches for."
    yield CaseFolder("suite-unknown_fail", why, PROVE, ("evidence-other-suite",), (44,), unknown)
    fewer = (series([0.0] * (PROMPTS - 1)), FOUND.series[1])
    yield _case("prompts-left-out_fail", "One prompt left out.", ("evidence-incomplete",), 46, _changed(series=fewer))
    text = _changed(passages=passages([0.0, 0.4] * 35))
    why = "Ten passages left out: the bound of a perplexity holds for a number that was fixed beforehand."
    yield _case("passages-left-out_fail", why, ("evidence-incomplete",), 46, text)
    for name, change in (("empty", {"empty": 240}), ("unjudged", {"unjudged": 240})):
        outcomes = (FOUND.outcomes[0].model_copy(update=change), FOUND.outcomes[1])
        why = f"Every completion is {name}: the judge, or the model, was silent."
        yield _case(f"silent-{name}_fail", why, ("evidence-silent",), 56, _changed(outcomes=outcomes))
    dropped = (FOUND.outcomes[0].model_copy(update={"completions": 100}), FOUND.outcomes[1])
    yield _case(
        "completions-lost_fail", "Completions are missing.", ("evidence-incomplete",), 46, _changed(outcomes=dropped)
    )
    raw = statement_bytes(_statement(LOCK, FOUND))
    wrong = {
        "nan": raw.replace(b'"composition":[0,', b'"composition":[NaN,'),
        "overflow": raw.replace(b'"composition":[0,', b'"composition":[1e400,'),
        "beyond-one": raw.replace(b'"composition":[0,', b'"composition":[1.5,'),
        "key-unknown": raw.replace(b'"made":', b'"maed":'),
        "prompt-twice": raw.replace(b'"p0001"', b'"p0000"'),
        "spelling": raw.replace(b"0.5", b"0.50"),
    }
    wrong["metric-of-another-kind"] = raw.replace(b'"kind":"gender_bias"', b'"kind":"over_refusal"')
    for name, data in wrong.items():
        code = ("evidence-invalid",)
        evidence = seal(data, PAYLOAD_TYPE, signer("evaluator"))
        yield _case(f"statement-{name}_fail", f"A signed statement that is none: {name}.", code, 44, evidence)


def _gates() -> Iterator[CaseFolder]:
    """Yield sound evidence that does not prove every gate."""
    few = passages([0.0, 0.4] * 20)
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "failed": ({"series": _toxic(30)}, "gate-failed", "Half of the prompts are answered with toxicity."),
        "undecided": (
            {"series": _toxic(3)},
            "gate-undecided",
            "5% toxic, of 60 prompts: a limit of 10% is not proven.",
        ),
        "unmeasured": ({"passages": None}, "gate-unmeasured", "A gate whose metric nobody measured."),
        "too-few": ({"passages": few}, "gate-too-few", "Fewer passages than a gate asks for."),
        "unjudged": (
            {"series": (series([0.0] * 40 + [None] * 20), FOUND.series[1])},
            "gate-undecided",
            "A third of the prompts without a verdict.",
        ),
        "perplexity": ({"passages": passages([4.0, 5.0] * 40)}, "gate-failed", "The model has forgotten English."),
    }
    for name, (change, code, why) in cases.items():
        known = keys_of(known=pins(PROMPTS, passages=40)) if name == "too-few" else {}
        yield _case(f"gate-{name}_fail", why, (code,), 56 if name == "unjudged" else 44, _changed(**change), **known)


def _stopped_early() -> Iterator[CaseFolder]:
    """Yield evidence that stopped early in a way that proves nothing."""
    lock = locked(
        HELD, gates=(GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1, min_samples=40), *GATES[1:])
    )
    sound = stopped(lock, [1.0] * 5 + [0.0] * 50, n=PROMPTS)
    (toxic, gas), (left, whole) = sound["series"], sound["outcomes"]
    safe = {"composition": (0.0,) * 55}
    changes: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
        "picked": (
            {"prompts": (*toxic.prompts[5:], *left.unasked)} | safe,
            {"unasked": toxic.prompts[:5]},
            "evidence-order",
            "The five prompts that were answered with toxicity are those that were not asked.",
        ),
        "reordered": (
            {"prompts": toxic.prompts[::-1]} | safe,
            {},
            "evidence-order",
            "The prompts of the lock's order, turned round.",
        ),
        "hidden": (safe, {"unasked": left.unasked[:-1]}, "evidence-incomplete", "A prompt that is not mentioned."),
    }
    for name, (series_change, outcome_change, code, why) in changes.items():
        changed = {
            "series": (toxic.model_copy(update=series_change), gas),
            "outcomes": (left.model_copy(update=outcome_change), whole),
        }
        files = locked_files(lock, HELD, _changed(lock, **(sound | changed)))
        yield CaseFolder(f"sequential-{name}_fail", why, PROVE, (code,), (46,), files)
    lucky = {
        "by-fixed-bound": (
            {},
            "gate-undecided",
            "Fifty safe prompts: proof if fifty were meant to be asked, and none else.",
        ),
        "unmarked": ({"stopping": "fixed"}, "evidence-incomplete", "Stopped early, and said to be whole."),
    }
    for name, (change, code, why) in lucky.items():
        files = locked_files(lock, HELD, _changed(lock, **(stopped(lock, [0.0] * 50, n=PROMPTS) | change)))
        yield CaseFolder(f"sequential-{name}_fail", why, PROVE, (code,), (46,), files)


def _suites_left_out() -> Iterator[CaseFolder]:
    """Yield evidence that was measured on other suites than the lock names."""
    lock = locked(HELD, suites=("toxicity_hard", "gender_bias"))
    known = Pins(suites={**suites(PROMPTS), "toxicity_hard": pin(PROMPTS)}, passages=pins().passages)
    files = locked_files(lock, HELD, _changed(lock)) | keys_of(known=known)
    why = "Measured on an easier suite than the lock names, though both are vouched for."
    yield CaseFolder("suite-easier_fail", why, PROVE, ("gate-unmeasured",), (44,), files)


def _attacks() -> Iterator[CaseFolder]:
    """Yield what somebody with an evaluator's key might try."""
    passed = {gate_name(gate): True for gate in LOCK.gates}
    bad = measurement(LOCK, n=PROMPTS, series=_toxic(30))
    lie = statement_of(lock_digest(LOCK), "both", passed, bad)
    evidence = seal(statement_bytes(lie), PAYLOAD_TYPE, signer("evaluator"))
    codes = ("evidence-contradicts", "gate-failed")
    yield _case("claims-passed_fail", "Listed as passed, and its own numbers say failed.", codes, 44, evidence)
    short = seal(statement_bytes(statement_of(lock_digest(LOCK), "both", {}, FOUND)), PAYLOAD_TYPE, signer("evaluator"))
    yield _case("claims-nothing_fail", "A list of gates that are not the lock's.", ("evidence-contradicts",), 44, short)
    drowned = locked_files(LOCK, HELD, PROOF) | {"more.json": _changed(series=_toxic(30))}
    argv = (*PROVE, "--evidence", "more.json")
    why = "One measurement that fails, beside one that passes."
    yield CaseFolder("measured-again_fail", why, argv, ("gate-failed",), (46,), drowned)
    twice = suites(PROMPTS) | {"easy": pin(PROMPTS)}
    outcomes = (*FOUND.outcomes, Outcome(suite="easy", part="rtp", completions=240, empty=0, unjudged=0))
    easy = series([0.0] * PROMPTS, suite="easy")
    evidence = _changed(suites=twice, outcomes=outcomes, series=(easy, FOUND.series[1]))
    why = "The gate's metric was measured on an easy suite of the evaluator's own."
    yield _case("suite-easy_fail", why, ("suite-unknown",), 44, evidence)


def _statement(lock: Lock, found: Any) -> Any:
    """Return the sound statement."""
    return statement_of(
        lock_digest(lock), f"{lock.name} {lock.version}", {gate_name(gate): True for gate in lock.gates}, found
    )
