"""Claims of the trust core: what they refuse, and that their digests depend on values alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from compose import parse
from compose.algebra.registry import METHODS
from compose.records import PatchCard
from compose.trust.claims import METRICS, GateClaim, Lock, Manifest, Verdict, lock_digest, manifest_digest

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64
GATE = {"metric": "toxicity/toxic_rate_per_prompt", "limit": 0.1}
FINDING = {"subject": "a", "expected": "b", "got": "c", "fix": "d"}


def manifest(**changes: Any) -> dict[str, Any]:
    fields = {
        "schema_version": 1,
        "name": "both",
        "version": "1.0.0",
        "base": {"name": "SmolLM2-135M-Instruct", "fingerprint": DIGEST},
        "method": {"name": "mean", "params": {"weights": [0.25, 0.75]}},
        "patches": [{"name": "toxicity", "range": ">=1.0.0,<2.0.0"}, {"name": "bias"}],
        "gates": [GATE],
    }
    return {**fields, **changes}


def lock(**changes: Any) -> dict[str, Any]:
    patch = {"version": "1.0.0", "digest": DIGEST, "card": OTHER, "tokens": 2, "risks": ["toxicity"]}
    fields = manifest(manifest=DIGEST, patches=[{"name": "toxicity", **patch}, {"name": "bias", **patch}])
    result = {"digest": OTHER, "tokens": 2, "dim": 8, "expression": "mean(...)"}
    return {**fields, "result": result, **changes}


def read(model: Any, fields: dict[str, Any]) -> Any:
    return model.model_validate_json(json.dumps(fields))


def test_methods_are_those_of_the_algebra() -> None:
    for name in METHODS:
        read(Manifest, manifest(method={"name": name}))
    with pytest.raises(ValidationError):
        read(Manifest, manifest(method={"name": "compose.algebra.mean"}))


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize(
    "condition",
    [{"limit": 0.1}, {"regression": "base", "margin": 0.05}, {"regression": "specialist", "margin": 0.0}],
    ids=["limit", "base", "specialist"],
)
def test_every_metric_takes_a_limit_or_a_regression(metric: str, condition: dict[str, Any]) -> None:
    gate = read(GateClaim, {"metric": metric, **condition})

    assert (gate.direction, gate.confidence, gate.min_samples) == ("max", 0.95, 60)


@pytest.mark.parametrize(
    "changes",
    [
        {"metric": "toxicity/toxic_rate"},
        {"limit": None},
        {"regression": "base", "margin": 0.1},
        {"margin": 0.1},
        {"limit": None, "regression": "base"},
        {"limit": None, "regression": "parts", "margin": 0.1},
        {"limit": None, "regression": "base", "margin": -0.1},
        {"limit": None, "regression": "base", "margin": 1.0},
        {"limit": 1.0},
        {"limit": -0.1},
        {"limit": True},
        {"limit": "0.1"},
        {"direction": "min"},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"min_samples": 0},
        {"min_samples": 60.0},
        {"samples": 60},
    ],
    ids=str,
)
def test_a_gate_that_could_not_deny_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(GateClaim, {**GATE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"gates": []},
        {"patches": []},
        {"patches": [{"name": "a"}, {"name": "a", "range": "^1.0.0"}]},
        {"patches": [{"name": "../a"}]},
        {"patches": [{"name": "a", "range": ">= 1.0.0"}]},
        {"patches": [{"name": "a", "range": ">=1.0"}]},
        {"patches": [{"name": "a", "range": "~=1.0.0"}]},
        {"patches": [{"name": f"a{n}"} for n in range(65)]},
        {"schema_version": 2},
        {"version": "1.0"},
        {"base": {"name": "SmolLM2"}},
        {"extra": 1},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_manifest_off_its_rules_is_refused(changes: dict[str, Any]) -> None:
    read(Manifest, manifest())
    with pytest.raises(ValidationError):
        read(Manifest, manifest(**changes))


def test_a_digest_is_one_of_values_and_not_of_spelling() -> None:
    one = read(Manifest, manifest())
    spelled = read(Manifest, dict(reversed(manifest(suites=[]).items())))
    other = read(Manifest, manifest(patches=[{"name": "bias"}, {"name": "toxicity", "range": ">=1.0.0,<2.0.0"}]))

    assert manifest_digest(one) == manifest_digest(spelled)
    assert manifest_digest(one) != manifest_digest(other)


def test_the_digest_of_a_lock_depends_on_the_order_of_its_patches() -> None:
    fields = lock()

    assert lock_digest(read(Lock, fields)) != lock_digest(read(Lock, lock(patches=fields["patches"][::-1])))


@pytest.mark.parametrize(
    ("severities", "decision", "good"),
    [
        ([], "allow", True),
        (["warning"], "allow", True),
        (["warning", "error"], "deny", True),
        (["error"], "allow", False),
        (["warning"], "deny", False),
        ([], "deny", False),
    ],
)
def test_a_verdict_denies_exactly_with_an_error(severities: list[str], decision: str, good: bool) -> None:
    findings = [{"code": "base-differs", "severity": severity, **FINDING} for severity in severities]
    fields = {"decision": decision, "lock": DIGEST, "findings": findings}
    if good:
        assert read(Verdict, fields).decision == decision
    else:
        with pytest.raises(ValidationError):
            read(Verdict, fields)


def card(**changes: Any) -> PatchCard:
    fields = {"name": "a", "risks": (), "base": {"fingerprint": DIGEST}, "strategy": "dpo", "prefix": DIGEST}
    return PatchCard.model_validate({**fields, "tokens": 2, "dim": 8, **changes})


def test_a_card_without_relations_keeps_the_bytes_it_had_before_there_were_any() -> None:
    fields = json.loads(parse.card_bytes(card()))

    assert not {"requires", "conflicts", "breaks", "provides"} & set(fields)


def test_relations_survive_a_cards_bytes() -> None:
    related = card(
        requires=({"name": "b", "range": "^1.0.0"},),
        conflicts=({"name": "c"},),
        breaks=({"name": "d"},),
        provides=("e",),
    )

    assert parse.read_card(parse.card_bytes(related)) == related
    assert related.conflicts[0].range == "*"
