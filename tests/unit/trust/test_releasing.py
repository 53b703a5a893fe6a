"""From a lock to a release and back: only what is allowed is bundled, and an audit finds it again from its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from compose.errors import Rejected
from compose.trust.claims import Lock, lock_digest
from compose.trust.keys import new_key, revoke_key
from compose.trust.releasing import Audited, BundledPatches, audit, prepare, recheck
from compose.trust.store import Store, Stored
from tests.unit.trust.releases import BAD, DIGEST, EVIDENCE, Judge, locked, released
from tests.unit.trust.shop import Shop


@pytest.fixture
def lock(put: Callable[..., Stored]) -> Lock:
    """A lock of two patches in the store."""
    return locked(put("tox"), put("bias"))


def test_what_is_denied_is_not_bundled(lock: Lock, store: Store, now: datetime) -> None:
    verdict, bundle = prepare(lock, store, EVIDENCE, check=Judge(BAD), now=now)

    assert verdict.findings == (BAD,)
    assert bundle is None


def test_a_release_holds_everything_that_its_verdict_rests_on(shop: Shop, lock: Lock, store: Store) -> None:
    fetched = released(shop, lock, store)
    folders = {path.split("/")[1] for path in fetched.files if path.startswith("patches/")}

    assert folders == {stored.entry for stored in store.all()}
    assert {path for path in fetched.files if "/" not in path} == {
        "compose.lock",
        "evidence-01.json",
        "evidence-02.json",
        "verdict.json",
    }
    assert fetched.release.lock == lock_digest(lock)


def test_the_init_of_a_sum_is_released_with_its_members(put: Callable[..., Stored], store: Store, shop: Shop) -> None:
    members, init = (put("tox"), put("bias")), put("start")
    put("other")
    fetched = released(shop, locked(*members, init=init.card.prefix), store)

    folders = {path.split("/")[1] for path in fetched.files if path.startswith("patches/")}
    assert folders == {stored.entry for stored in (*members, init)}


def test_a_release_is_checked_again_as_of_its_moment(shop: Shop, lock: Lock, store: Store) -> None:
    fetched = released(shop, lock, store)
    moment = shop.now
    shop.advance(days=20)
    judge = Judge()

    assert recheck(fetched, check=judge).decision == "allow"
    evidence = {"evidence-01.json": EVIDENCE[0], "evidence-02.json": EVIDENCE[1]}
    assert judge.asked == [(lock_digest(lock), evidence, moment)]


def test_a_patch_that_is_not_in_the_store_is_said(lock: Lock, store: Store, now: datetime) -> None:
    missing = lock.model_copy(update={"patches": (lock.patches[0].model_copy(update={"digest": DIGEST}),)})

    with pytest.raises(Rejected) as refused:
        prepare(missing, store, EVIDENCE, check=Judge(), now=now)
    assert refused.value.code == "store-missing"


def test_a_patch_that_was_exchanged_in_the_store_is_not_released(lock: Lock, store: Store, now: datetime) -> None:
    first, second = (store.patches / stored.entry for stored in store.all())
    for name in ("patch.json", "adapter_model.safetensors"):
        (first / name).write_bytes((second / name).read_bytes())

    with pytest.raises(Rejected) as refused:
        prepare(lock, store, EVIDENCE, check=Judge(), now=now)
    assert refused.value.code == "store-damaged"


def test_evidence_without_end_is_refused(lock: Lock, store: Store, now: datetime) -> None:
    with pytest.raises(Rejected, match="at most 64"):
        prepare(lock, store, [b"x"] * 65, check=Judge(), now=now)


def test_a_release_that_contradicts_itself_is_refused(shop: Shop, lock: Lock, store: Store) -> None:
    fetched = released(shop, lock, store)
    other = prepare(locked(*store.all(), version="2.0.0"), store, EVIDENCE, check=Judge(), now=shop.now).bundle
    assert other is not None
    denied = Judge(BAD)(lock, BundledPatches(fetched.files, "x"), {}, shop.now)

    for path, data in (
        ("compose.lock", other.files["compose.lock"]),
        ("verdict.json", other.files["verdict.json"]),
        ("verdict.json", denied.model_dump_json().encode()),
        ("verdict.json", b"{}"),
        ("evidence-02.json", b"evidence of something else"),
    ):
        changed = replace(fetched, files={**fetched.files, path: data})
        with pytest.raises(Rejected) as refused:
            recheck(changed, check=Judge())
        assert refused.value.code == "release-invalid", path


def test_a_patch_under_the_name_of_another_is_refused(shop: Shop, lock: Lock, store: Store) -> None:
    fetched = released(shop, lock, store)
    first, second = (f"patches/{stored.entry}/" for stored in store.all())
    swapped = dict(fetched.files)
    for path in fetched.files:
        if path.startswith(first):
            swapped[path] = fetched.files[second + path.removeprefix(first)]
    patches = BundledPatches(swapped, "release")
    one = next(patch for patch in lock.patches if first.startswith(f"patches/{patch.digest[7:]}"))

    with pytest.raises(Rejected) as refused:
        patches.get(one.digest, one.card)
    assert refused.value.code == "store-damaged"
    with pytest.raises(Rejected, match="store-missing"):
        patches.get(DIGEST, DIGEST)
    with pytest.raises(Rejected, match="store-missing"):
        patches.find(DIGEST)


def audited(shop: Shop, judge: Judge) -> list[Audited]:
    with shop.open(who="auditor") as reader:
        return list(audit(reader, shop.keyring, check=judge))


def test_an_audit_looks_at_every_release(shop: Shop, put: Callable[..., Stored], store: Store) -> None:
    stored = (put("tox"), put("bias"))
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        released(shop, locked(*stored, version=version), store)
    shop.yank("1.1.0")

    assert [(one.version, one.standing, one.sound) for one in audited(shop, Judge())] == [
        ("1.0.0", "released", True),
        ("1.1.0", "yanked", True),
        ("1.2.0", "current", True),
    ]
    assert [one.sound for one in audited(shop, Judge(BAD))] == [False] * 3


def test_an_audit_finds_a_damaged_file_and_goes_on(shop: Shop, put: Callable[..., Stored], store: Store) -> None:
    stored = (put("tox"), put("bias"))
    for version in ("1.0.0", "1.1.0"):
        released(shop, locked(*stored, version=version), store)
    (tensor, *_) = (shop.channel / "targets" / "calm" / "1.0.0").rglob("*.safetensors")
    *rest, last = tensor.read_bytes()
    tensor.write_bytes(bytes([*rest, last ^ 1]))
    first, second = audited(shop, Judge())

    assert [finding.code for finding in first.findings] == ["channel-mixed"]
    assert not first.sound
    assert second.sound


def test_an_audit_names_what_a_revoked_key_did(shop: Shop, lock: Lock, store: Store) -> None:
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    released(shop, lock, store)
    revoke_key(shop.keys, "releaser", now=shop.now, reason="stolen")
    shop.releaser = "second"
    shop.renew()
    (one,) = audited(shop, Judge())

    assert [(finding.severity, finding.code) for finding in one.findings] == [
        ("warning", "key-revoked"),
        ("error", "key-revoked"),
    ]
    assert "stolen" in one.findings[0].got


def test_a_reader_without_the_name_is_told_so(shop: Shop, lock: Lock, store: Store, tmp_path: Path) -> None:
    released(shop, lock, store)
    with shop.open() as reader, pytest.raises(Rejected) as refused:
        list(audit(reader, shop.keyring, check=Judge(), names=["other"]))
    assert refused.value.code == "release-missing"
