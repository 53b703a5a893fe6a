"""Signatures of authors: what they are about, where they are kept, and what a check makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose.errors import Rejected
from compose.trust.authorship import authors_of, signature_of
from compose.trust.claims import Lock, lock_digest
from compose.trust.keyring import Keyring, keyring_bytes, parse_keyring, read_keyring
from compose.trust.keys import import_keys, pin_patches, revoke_key, rotate_key
from compose.trust.releasing import BundledPatches
from compose.trust.store import Store, Stored
from tests.unit.trust.cases import NOW, authored, codes, keyring, locked, members, signer, verdict

HELD = members()
LOCK = locked(HELD)
TOX = LOCK.patches[0]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def found(lock: Lock, *, keys: Keyring | None = None, **signatures: bytes | None) -> list[tuple[str, str]]:
    """Return severity and code of every finding on a lock whose patches are signed like this, but for `static-only`."""
    said = verdict(lock, HELD, proven=False, keys=keys, signatures=signatures).findings
    return [(one.severity, one.code) for one in said if one.code != "static-only"]


def test_a_signature_is_the_same_every_time_and_names_who_made_it() -> None:
    data = signature_of(TOX, signer("author"))

    assert data == signature_of(TOX, signer("author"))
    assert [key.name for key in authors_of(data, TOX, keyring(), NOW, subject="s")] == ["author"]


@pytest.mark.parametrize("field", ["name", "version", "digest", "card"])
def test_a_signature_is_about_one_patch_alone(field: str) -> None:
    zeros = "sha256:" + "0" * 64
    other = {"name": "other", "version": "9.0.0", "digest": zeros, "card": zeros}[field]
    changed = TOX.model_copy(update={field: other})

    data = signature_of(changed, signer("author"))
    assert code_of(lambda: authors_of(data, TOX, keyring(), NOW, subject="s")) == "signature-other"


def test_an_unsigned_patch_is_a_warning_until_somebody_asks_for_signatures() -> None:
    asking = locked(HELD, require_signed_patches=True)
    pinned = keyring().model_copy(update={"authors": {"bias": ("author",)}})

    assert found(LOCK) == []
    assert found(LOCK, tox=None) == [("warning", "patch-unsigned")]
    assert found(asking) == []
    assert found(asking, tox=None) == [("error", "patch-unsigned")]
    assert found(LOCK, keys=pinned, tox=None, bias=None) == [("warning", "patch-unsigned"), ("error", "patch-unsigned")]


def test_a_strangers_signature_is_worth_what_none_is() -> None:
    stranger = authored(HELD[0].card, holder="stranger")
    asking = locked(HELD, require_signed_patches=True)

    assert found(LOCK, tox=stranger) == [("warning", "key-unknown")]
    assert found(asking, tox=stranger) == [("error", "key-unknown")]


def test_a_signature_that_is_bad_denies_although_none_would_not() -> None:
    revoked = keyring(lambda fields: {**fields, "revoked": {"at": "2026-02-01T00:00:00Z", "reason": "lost"}})

    assert found(LOCK, tox=authored(HELD[1].card)) == [("error", "signature-other")]
    assert found(LOCK, tox=authored(HELD[0].card, role="releaser")) == [("error", "key-role")]
    assert found(LOCK, tox=b"{}") == [("error", "seal-invalid")]
    assert found(LOCK, keys=revoked, bias=None) == [("error", "key-revoked"), ("warning", "patch-unsigned")]


def test_without_a_keyring_nobody_has_signed() -> None:
    assert found(LOCK, keys=Keyring()) == [("warning", "key-unknown")] * 2


def test_a_patch_that_is_missing_is_not_said_to_be_unsigned_too() -> None:
    asking = locked(HELD, require_signed_patches=True)

    assert codes(verdict(asking, HELD[:1], proven=False)) == ["artifact-missing"]


def test_a_lock_that_asks_for_nothing_has_the_digest_it_always_had() -> None:
    asking = locked(HELD, require_signed_patches=True)

    assert "require_signed_patches" not in LOCK.model_dump(mode="json")
    assert lock_digest(asking) != lock_digest(LOCK)
    assert Lock.model_validate_json(asking.model_dump_json()) == asking


def folder_of(store: Store, stored: Stored) -> Path:
    return store.patches / stored.entry


def test_a_signature_is_kept_with_its_patch_and_put_with_its_folder(
    store: Store, put: Callable[..., Stored], tmp_path: Path
) -> None:
    stored = put("tox")
    assert store.signature(stored.card.prefix, stored.card_digest) is None
    data = signature_of(stored.locked, signer("author"))
    store.sign(stored, data)
    shutil.copytree(folder_of(store, stored), tmp_path / "copy")
    other = Store(tmp_path / "other")

    assert other.put(tmp_path / "copy") == stored
    for one in (store, other):
        assert one.signature(stored.card.prefix, stored.card_digest) == data
        assert one.get(stored.card.prefix, stored.card_digest).card == stored.card
        assert one.all() == (stored,)
    files = {f"patches/{stored.entry}/signature.json": data}
    assert BundledPatches(files, "release").signature(stored.card.prefix, stored.card_digest) == data


def test_a_later_signature_takes_the_place_of_the_first_and_an_unsigned_folder_does_not(
    store: Store, put: Callable[..., Stored], tmp_path: Path
) -> None:
    stored = put("tox", rows=[[1.0, 2.0]])
    store.sign(stored, signature_of(stored.locked, signer("author", "first")))
    shutil.copytree(folder_of(store, stored), tmp_path / "copy")
    second = signature_of(stored.locked, signer("author", "second"))
    (tmp_path / "copy" / "signature.json").write_bytes(second)

    store.put(tmp_path / "copy")
    assert store.signature(stored.card.prefix, stored.card_digest) == second
    assert put("tox", rows=[[1.0, 2.0]]) == stored
    assert store.signature(stored.card.prefix, stored.card_digest) == second


def test_a_signed_patch_is_not_put_under_a_name_that_its_author_has_not_signed(
    store: Store, put: Callable[..., Stored]
) -> None:
    stored = put("tox")
    store.sign(stored, signature_of(stored.locked, signer("author")))
    folder = folder_of(store, stored)

    assert code_of(lambda: store.put(folder, name="other")) == "signature-other"
    assert store.put(folder, name="tox", version="1.0.0") == stored  # its own
    (folder / "signature.json").unlink()
    assert store.put(folder, name="other").label == "other 1.0.0"


def test_what_is_not_in_the_store_is_not_signed(store: Store, put: Callable[..., Stored]) -> None:
    stored = put("tox")
    shutil.rmtree(folder_of(store, stored))

    assert code_of(lambda: store.sign(stored, b"{}")) == "store-missing"
    assert store.signature(stored.card.prefix, stored.card_digest) is None


def test_a_pin_outlives_the_key_that_it_was_made_with(keys: Path, now: Any) -> None:
    pinned = pin_patches(keys, "author", ["tox", "bias"])
    rotate_key(keys, "author", now=now)
    revoke_key(keys, pinned.keys[0].key_id, now=now, reason="old")

    assert read_keyring(keys).authors == {"tox": ("author",), "bias": ("author",)}
    assert code_of(lambda: pin_patches(keys, "nobody", ["tox"])) == "key-missing"
    assert code_of(lambda: pin_patches(keys, "evaluator", ["tox"])) == "key-missing"
    assert code_of(lambda: pin_patches(keys, "author", ["../tox"])) == "keyring-invalid"


def test_an_import_brings_pins_and_changes_none(keys: Path, tmp_path: Path) -> None:
    pin_patches(keys, "author", ["tox"])
    theirs = read_keyring(keys)
    mine = tmp_path / "mine"
    import_keys(mine, keyring_bytes(theirs), subject="theirs")
    assert read_keyring(mine).authors == {"tox": ("author",)}

    second = theirs.keys[0].model_copy(update={"name": "mallory"})
    wider = Keyring.model_construct(
        schema_version=1, keys=(second, *theirs.keys[1:]), authors={"tox": ("mallory",), "bias": ("mallory",)}
    )
    assert code_of(lambda: import_keys(mine, keyring_bytes(wider), subject="x")) == "keyring-invalid"
    assert read_keyring(mine).authors == {"tox": ("author",)}


def test_a_keyring_names_no_author_whose_key_it_lacks(keys: Path) -> None:
    text = keyring_bytes(read_keyring(keys)).decode().rstrip().removesuffix("}")

    for authors in ('{"tox": ["nobody"]}', '{"tox": ["releaser"]}', '{"tox": []}', '{"T X": ["author"]}'):
        data = f'{text}, "authors": {authors}}}'.encode()
        assert code_of(lambda data=data: parse_keyring(data, subject="ring")) == "keyring-invalid"  # type: ignore[misc]
    assert parse_keyring(f'{text}, "authors": {{"tox": ["author"]}}}}'.encode(), subject="ring").authors
