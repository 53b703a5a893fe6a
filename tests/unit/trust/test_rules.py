"""The rules about the lock and its patches, each with one thing wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compose.patch_files import PlainPatch, values_digest
from compose.records import InitInfo, Relation
from compose.trust.claims import GateClaim, Lock, MethodClaim
from compose.trust.rules.finding import CODES, finding
from tests.unit.trust.cases import GATES, codes, locked, members, patch, verdict, with_card

OTHER = "sha256:" + "9" * 64


def static(lock: Lock, held: tuple[PlainPatch, ...]) -> list[str]:
    return codes(verdict(lock, held, proven=False))


def warnings(lock: Lock, held: tuple[PlainPatch, ...]) -> list[str]:
    return [one.code for one in verdict(lock, held, proven=False).findings if one.severity == "warning"]


def test_a_sound_lock_has_no_finding() -> None:
    assert static(locked(members()), members()) == []


def test_a_patch_that_is_not_there_is_found() -> None:
    assert static(locked(members()), members()[:1]) == ["artifact-missing"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", "2.0.0"), ("name", "other"), ("tokens", 5), ("risks", ("toxicity", "gender_bias"))],
)
def test_a_lock_that_says_something_else_of_a_patch_is_found(key: str, value: object) -> None:
    held = members()
    lock = locked(held)
    first = lock.patches[0].model_copy(update={key: value})

    assert "patch-mismatch" in static(lock.model_copy(update={"patches": (first, lock.patches[1])}), held)


def test_a_patch_of_another_base_is_found_whatever_its_name() -> None:
    other = patch("bias", "gender_bias", base={"name": "tiny", "fingerprint": OTHER})
    held = (patch("tox", "toxicity"), other)

    assert static(locked(held, made_of=members()), held) == ["base-mismatch", "patch-base"]


def test_a_patch_of_another_width_than_the_result_is_found() -> None:
    held = members()
    lock = locked(held)
    wide = lock.model_copy(update={"result": lock.result.model_copy(update={"dim": 9})})

    assert static(wide, held) == ["result-mismatch", "patch-width"]


def test_a_patch_of_unknown_origin_is_found() -> None:
    held = (patch("tox", "toxicity"), patch("bias", "gender_bias", status="unproven"))

    assert static(locked(held), held) == ["patch-unproven"]


def test_too_many_virtual_tokens_are_found() -> None:
    held = (patch("tox", "toxicity", tokens=300), patch("bias", "gender_bias", tokens=213))
    enough = (patch("tox", "toxicity", tokens=300), patch("bias", "gender_bias", tokens=212))

    assert static(locked(held), held) == ["budget-exceeded"]
    assert static(locked(enough), enough) == []


@pytest.mark.parametrize("change", ["order", "digest", "tokens", "expression", "method", "weights"])
def test_a_lock_that_was_edited_is_found_by_making_its_result_again(change: str) -> None:
    held = members()
    method = MethodClaim(name="mean", params={"weights": (0.5, 0.5)}) if change == "weights" else None
    lock = locked(held, method=method)
    edits: dict[str, dict[str, Any]] = {
        "order": {"patches": lock.patches[::-1]},
        "digest": {"result": lock.result.model_copy(update={"digest": OTHER})},
        "tokens": {"result": lock.result.model_copy(update={"tokens": 4})},
        "expression": {"result": lock.result.model_copy(update={"expression": lock.result.expression[:-1]})},
        "method": {"method": MethodClaim(name="mean")},
        "weights": {"method": MethodClaim(name="mean", params={"weights": (0.25, 0.75)})},
    }

    assert static(lock.model_copy(update=edits[change]), held) == ["result-mismatch"]


def test_a_method_that_cannot_be_applied_is_found() -> None:
    held = members()
    lock = locked(held)

    for method in (
        MethodClaim(name="slice", params={"start": 0, "stop": 2}),
        MethodClaim(name="mean", params={"weights": (1.0,)}),
        MethodClaim(name="sum", params={"init": OTHER}),
        MethodClaim(name="sum"),
    ):
        found = static(lock.model_copy(update={"method": method}), held)
        assert found in (["composition-invalid"], ["artifact-missing"])


def test_a_result_that_has_shrunk_is_a_warning() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    held = (with_card(rows, "tox", "toxicity"), with_card(-0.9 * rows, "bias", "gender_bias"))
    lock = locked(held, method=MethodClaim(name="mean"))

    assert static(lock, held) == []
    assert warnings(lock, held) == ["result-norm", "static-only"]


def test_a_sum_is_made_over_its_start() -> None:
    start = patch("start", "toxicity", seed=5)
    init = InitInfo(kind="random", digest=values_digest(start.values))
    held = (patch("tox", "toxicity", init=init), patch("bias", "gender_bias", init=init))
    method = MethodClaim(name="sum", params={"init": init.digest})
    lock = locked(held, method=method, init=start)

    assert static(lock, (*held, start)) == []
    assert static(lock, held) == ["artifact-missing"]


def related(key: str, name: str, range_: str, *, version: str = "1.0.0", provides: tuple[str, ...] = ()) -> list[str]:
    """Return what is found when tox relates to another patch, bias of some version."""
    relation: dict[str, Any] = {key: (Relation(name=name, range=range_),)}
    held = (
        patch("tox", "toxicity", **relation),
        patch("bias", "gender_bias", version=version, provides=provides),
    )
    return static(locked(held), held)


def test_what_is_required_must_be_there_in_the_range() -> None:
    assert related("requires", "bias", ">=1.0.0") == []
    assert related("requires", "bias", ">=1.0.0", version="0.9.0") == ["requires-missing"]
    assert related("requires", "other", "*") == ["requires-missing"]
    assert related("requires", "other", "*", provides=("other",)) == []
    assert related("requires", "other", "^1.0.0", provides=("other",)) == ["requires-missing"]


def test_what_conflicts_or_is_undone_must_not_be_there() -> None:
    assert related("conflicts", "bias", "<2.0.0") == ["conflicts-present"]
    assert related("conflicts", "bias", ">=2.0.0") == []
    assert related("conflicts", "other", "*", provides=("other",)) == ["conflicts-present"]
    assert related("breaks", "bias", "1.0.0".join(("==", ""))) == ["breaks-present"]
    assert related("breaks", "other", "*", provides=("other",)) == []


def test_two_who_provide_the_same_are_a_warning() -> None:
    held = (patch("tox", "toxicity", provides=("calm",)), patch("bias", "gender_bias", provides=("calm",)))

    assert static(locked(held), held) == []
    assert warnings(locked(held), held) == ["provides-twice", "static-only"]


def test_a_risk_without_a_gate_is_found() -> None:
    held = members()

    assert static(locked(held, gates=(GATES[0], GATES[2])), held) == ["risk-ungated"]


def test_a_risk_that_no_gate_could_limit_and_utility_without_a_gate_are_warnings() -> None:
    held = (*members(), patch("tone", "rudeness"))

    assert static(locked(held), held) == []
    assert warnings(locked(held), held) == ["risk-ungated", "static-only"]
    assert warnings(locked(members(), gates=GATES[:2]), members()) == ["utility-ungated", "static-only"]
    other = (*GATES[:2], GateClaim(metric="over_refusal/refusal_rate", limit=0.2))
    assert warnings(locked(members(), gates=other), members()) == ["static-only"]


def test_a_finding_has_a_code_of_the_table_and_plain_text() -> None:
    fields: dict[str, Any] = {"subject": "a\u202eb\n", "expected": "x" * 5000, "got": "\x1b[31m", "fix": "f"}
    found = finding("rule-failed", **fields)

    assert found.subject == r"a\u202eb\n"
    assert len(found.expected) == 1000
    assert found.got == r"\x1b[31m"
    with pytest.raises(KeyError):
        finding("no-such-code", **fields)


def test_codes_are_names() -> None:
    assert all(code == code.lower() and " " not in code for code in CODES)
