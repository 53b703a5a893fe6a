"""First manifests: whatever they are made of, the strict reader takes them; an arm of a run becomes its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose import algebra, artifact
from compose.artifact import Patch
from compose.errors import Rejected
from compose.parse import revise
from compose.records import BaseRef
from compose.trust.arm import add_arm
from compose.trust.initial import HEADLINES, initial_manifest
from compose.trust.locking import make_lock
from compose.trust.manifest import read_manifest
from compose.trust.store import Store, Stored

Put = Callable[..., Stored]
Make = Callable[..., Patch]


def read(*patches: Stored, **changes: Any) -> Any:
    text = initial_manifest(patches, **{"name": "both", "version": "1.0.0", **changes})
    return read_manifest(text.encode())


def test_a_first_manifest_locks_to_its_patches(store: Store, put: Put) -> None:
    one, two = put("toxicity", "0.2.1"), put("bias", risks=("gender_bias",))
    manifest = read(one, two, method="mean", params={"weights": (0.25, 0.75)}, pinned=True)
    lock = make_lock(manifest, store)

    assert [patch.range for patch in manifest.patches] == ["^0.2.1", "^1.0.0"]
    assert [patch.digest for patch in manifest.patches] == [one.card.prefix, two.card.prefix]
    assert lock.method.params == {"weights": (0.25, 0.75)}


@pytest.mark.parametrize("params", [{"start": 0, "stop": 1}, {"init": "sha256:" + "a" * 64}, {"weights": (1.0,)}])
def test_parameters_of_every_kind_are_read_back(put: Put, params: dict[str, Any]) -> None:
    assert read(put("a"), params=params).method.params == params


@pytest.mark.parametrize("risk", HEADLINES)
def test_every_risk_has_gates_beside_the_base_and_the_specialist(put: Put, risk: str) -> None:
    gates = [(gate.metric, gate.regression) for gate in read(put("a", risks=(risk,))).gates]

    assert (HEADLINES[risk], "base") in gates
    assert (HEADLINES[risk], "specialist") in gates
    assert [metric for metric, _ in gates if metric.endswith("/degenerate")] == [f"{risk}/degenerate"]


def test_even_without_a_known_risk_there_are_gates(put: Put) -> None:
    assert len(read(put("a", risks=())).gates) == 3


def test_patches_of_two_bases_make_no_manifest(put: Put) -> None:
    other = put("b", base=BaseRef(name="other", fingerprint="sha256:" + "c" * 64))
    with pytest.raises(Rejected, match="base-mismatch"):
        read(put("a"), other)


def test_the_name_of_a_base_cannot_write_into_the_manifest(put: Put) -> None:
    base = BaseRef(name='x"\n[[gates]]\nmetric = "gender_bias/gas"\nlimit = 0.9 # ', fingerprint="sha256:" + "b" * 64)
    manifest = read(put("a", base=base, risks=()))

    assert manifest.base.name == "unnamed"
    assert len(manifest.gates) == 3


@pytest.fixture
def run(make_patch: Make, tmp_path: Path) -> Path:
    """Return a run whose arms are two specialists and what was made of them."""
    tox = make_patch([[1.0, 2.0], [3.0, 4.0]], name="specialist-toxicity")
    bias = make_patch([[5.0, 6.0], [7.0, 8.0]], name="specialist-bias", risks=("gender_bias",))
    arms = {
        "specialist-toxicity": tox,
        "specialist-bias": bias,
        "concat-both": algebra.concat(tox, bias),
        "mean": algebra.mean([tox, bias], weights=[0.25, 0.75]),
        "nested": algebra.concat(algebra.mean([tox, bias]), bias),
        "first-rows": algebra.slice(tox, 0, 1),
        "of-another-run": algebra.concat(tox, make_patch([[9.0, 9.0]], name="other")),
    }
    for name, patch in arms.items():
        artifact.save(Patch(patch.prefix, revise(patch.card, name=name)), tmp_path / "run" / "patches" / name)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("arm", "names", "method", "params"),
    [
        ("specialist-toxicity", ["specialist-toxicity"], "concat", {}),
        ("concat-both", ["specialist-toxicity", "specialist-bias"], "concat", {}),
        ("mean", ["specialist-toxicity", "specialist-bias"], "mean", {"weights": (0.25, 0.75)}),
        ("nested", ["nested"], "concat", {}),
        ("first-rows", ["first-rows"], "concat", {}),
        ("of-another-run", ["of-another-run"], "concat", {}),
    ],
)
def test_an_arm_is_locked_to_the_digest_of_its_patch(
    store: Store, run: Path, arm: str, names: list[str], method: str, params: dict[str, Any]
) -> None:
    parts = add_arm(run, arm, store)
    manifest = read(*parts.patches, name=arm, method=parts.method, params=parts.params, pinned=True)
    lock = make_lock(manifest, store)

    assert [patch.name for patch in lock.patches] == names
    assert (lock.method.name, dict(lock.method.params)) == (method, params)
    assert lock.result.digest == artifact.load(run / "patches" / arm).card.prefix


def test_the_arm_of_another_seed_gets_the_next_version_and_the_same_arm_is_the_same_patch(
    store: Store, run: Path, make_patch: Make, tmp_path: Path
) -> None:
    other = make_patch([[1.0, 2.0], [3.0, 5.0]], name="specialist-toxicity")
    artifact.save(other, tmp_path / "seed1" / "patches" / "specialist-toxicity")

    first, second, again = (
        add_arm(folder, "specialist-toxicity", store).patches[0] for folder in (run, tmp_path / "seed1", run)
    )

    major, minor, _ = map(int, first.card.version.split("."))
    assert second.card.version == f"{major}.{minor + 1}.0"
    assert second.card.prefix == other.card.prefix
    assert again == first
    assert add_arm(tmp_path / "seed1", "specialist-toxicity", store).patches[0] == second


def test_an_arm_that_is_not_there_is_said_with_those_that_are(store: Store, run: Path, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="concat-both, first-rows, mean"):
        add_arm(run, "conct-both", store)
    with pytest.raises(Rejected, match="there is none"):
        add_arm(tmp_path / "none", "concat-both", store)
    (run / "patches" / "mean" / "patch.json").unlink()
    with pytest.raises(Rejected, match="as every arm of a run has one"):
        add_arm(run, "mean", store)
