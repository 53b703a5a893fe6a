"""Keys: private files, roles, expiry, rotation, revocation, and the keyring that others trust."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from compose.errors import Rejected
from compose.trust.keyring import KEYRING_FILE, keyring_bytes, parse_keyring, read_keyring
from compose.trust.keys import import_keys, load_signer, new_key, private_signers, revoke_key, rotate_key

DAY = timedelta(days=1)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_private_halves_are_for_their_owner_alone_even_with_an_open_umask(tmp_path: Path, now: datetime) -> None:
    before = os.umask(0)
    try:
        new_key(tmp_path / "keys", "alice", "author", now=now)
        rotate_key(tmp_path / "keys", "alice", now=now)
    finally:
        os.umask(before)
    private = sorted((tmp_path / "keys").glob("*.key"))

    assert [mode(path) for path in private] == [0o600, 0o600]
    assert mode(tmp_path / "keys") == 0o700
    assert (tmp_path / "keys" / ".gitignore").read_text() == "*.key\n"
    assert "PRIVATE" not in (tmp_path / "keys" / KEYRING_FILE).read_text()


def test_a_private_half_that_others_may_read_is_not_used(keys: Path, now: datetime) -> None:
    (keys / "author.key").chmod(0o644)

    assert code_of(lambda: load_signer(keys, "author", "author", now=now)) == "key-permissions"


def test_a_key_signs_in_its_role_and_in_its_time_only(keys: Path, now: datetime) -> None:
    assert load_signer(keys, "author", "author", now=now).public_key.keyid == read_keyring(keys).keys[0].key_id
    assert load_signer(keys, "author", "author", now=now + 100 * DAY - timedelta(seconds=1))

    assert code_of(lambda: load_signer(keys, "author", "releaser", now=now)) == "key-role"
    assert code_of(lambda: load_signer(keys, "author", "author", now=now - timedelta(seconds=1))) == "key-expired"
    assert code_of(lambda: load_signer(keys, "author", "author", now=now + 100 * DAY)) == "key-expired"
    assert code_of(lambda: load_signer(keys, "nobody", "author", now=now)) == "key-missing"


def test_a_name_has_one_key_until_it_is_rotated(keys: Path, now: datetime) -> None:
    assert code_of(lambda: new_key(keys, "author", "author", now=now)) == "already-exists"
    assert code_of(lambda: rotate_key(keys, "nobody", now=now)) == "key-missing"

    (keys / "stray.key").write_bytes(b"somebody's only copy")
    assert code_of(lambda: new_key(keys, "stray", "author", now=now)) == "already-exists"
    assert (keys / "stray.key").read_bytes() == b"somebody's only copy"


@pytest.mark.parametrize("name", ["", "../x", "a.b", "A", "x" * 65, "a\n"])
def test_a_name_that_is_a_path_makes_no_file(tmp_path: Path, now: datetime, name: str) -> None:
    assert code_of(lambda: new_key(tmp_path / "keys", name, "author", now=now)) == "settings-invalid"
    assert not list(tmp_path.rglob("*.key"))


@pytest.mark.parametrize("days", [0, -1, 4000])
def test_a_key_counts_for_a_number_of_days_that_can_be(tmp_path: Path, now: datetime, days: int) -> None:
    assert code_of(lambda: new_key(tmp_path, "a", "author", now=now, days=days)) == "settings-invalid"


def test_a_passphrase_encrypts_the_private_half(tmp_path: Path, now: datetime) -> None:
    new_key(tmp_path, "alice", "author", now=now, passphrase=b"horse")

    assert b"ENCRYPTED" in (tmp_path / "alice.key").read_bytes()
    assert load_signer(tmp_path, "alice", "author", now=now, passphrase=b"horse")
    assert code_of(lambda: load_signer(tmp_path, "alice", "author", now=now)) == "key-passphrase"
    assert code_of(lambda: load_signer(tmp_path, "alice", "author", now=now, passphrase=b"cow")) == "key-passphrase"


def test_a_passphrase_for_a_key_that_has_none_is_said(keys: Path, now: datetime) -> None:
    assert code_of(lambda: load_signer(keys, "author", "author", now=now, passphrase=b"horse")) == "key-passphrase"


def test_a_private_file_of_another_kind_of_key_is_refused(keys: Path, now: datetime) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (keys / "author.key").write_bytes(pem)
    assert code_of(lambda: load_signer(keys, "author", "author", now=now)) == "key-missing"

    (keys / "author.key").write_bytes(b"no key")
    assert code_of(lambda: load_signer(keys, "author", "author", now=now)) == "key-passphrase"


def test_the_private_half_of_another_holder_is_refused(keys: Path, now: datetime) -> None:
    (keys / "author.key").write_bytes((keys / "releaser.key").read_bytes())

    assert code_of(lambda: load_signer(keys, "author", "releaser", now=now)) == "key-missing"


def test_a_rotated_key_keeps_counting_and_the_new_one_signs(keys: Path, now: datetime) -> None:
    old = load_signer(keys, "releaser", "releaser", now=now)
    new = rotate_key(keys, "releaser", now=now + DAY, days=10)
    ring = read_keyring(keys)

    assert new.role == "releaser"
    assert load_signer(keys, "releaser", "releaser", now=now + DAY).public_key.keyid == new.key_id
    assert {key.key_id for key in ring.of_role("releaser", now + DAY)} == {old.public_key.keyid, new.key_id}
    assert {key.key_id for key in ring.of_role("releaser", now + 50 * DAY)} == {old.public_key.keyid}
    # Both private halves are at hand, to hand a channel over.
    ids = [key.key_id for key in ring.named("releaser")]
    assert [signer.public_key.keyid for signer in private_signers(keys, [*ids, "0" * 64])] == ids


def test_a_lost_private_half_can_be_exchanged(keys: Path, now: datetime) -> None:
    (keys / "author.key").unlink()

    assert code_of(lambda: load_signer(keys, "author", "author", now=now)) == "key-missing"
    new = rotate_key(keys, "author", now=now)
    assert load_signer(keys, "author", "author", now=now).public_key.keyid == new.key_id


def test_a_revoked_key_signs_no_more_and_says_why(keys: Path, now: datetime) -> None:
    revoke_key(keys, "author", now=now + DAY, reason="laptop stolen")

    with pytest.raises(Rejected) as refused:
        load_signer(keys, "author", "author", now=now)
    assert refused.value.code == "key-revoked"
    assert "laptop stolen" in refused.value.got
    assert "2026-06-02T12:00:00Z" in refused.value.got
    assert read_keyring(keys).of_role("author", now) == ()


def test_what_is_revoked_is_named_without_doubt(keys: Path, now: datetime) -> None:
    first = read_keyring(keys).named("author")[0]
    rotate_key(keys, "author", now=now)

    for who in ("author", "nobody", first.key_id[:7]):
        assert code_of(lambda who=who: revoke_key(keys, who, now=now, reason="x")) == "key-missing"  # type: ignore[misc]
    assert revoke_key(keys, first.key_id[:8], now=now, reason="old").key_id == first.key_id
    assert code_of(lambda: revoke_key(keys, first.key_id, now=now, reason="again")) == "key-missing"
    assert code_of(lambda: revoke_key(keys, "author", now=now, reason="")) == "settings-invalid"
    assert code_of(lambda: revoke_key(keys, "author", now=now, reason="a\x1b[2J")) == "settings-invalid"


def test_others_import_what_was_exported(keys: Path, tmp_path: Path, now: datetime) -> None:
    exported = keyring_bytes(read_keyring(keys))
    other = tmp_path / "other"

    assert len(import_keys(other, exported, subject="theirs")) == 3
    assert import_keys(other, exported, subject="theirs") == ()
    assert read_keyring(other) == read_keyring(keys)
    assert list(other.glob("*.key")) == []


def test_a_revocation_is_imported_and_never_undone(keys: Path, tmp_path: Path, now: datetime) -> None:
    before = keyring_bytes(read_keyring(keys))
    revoke_key(keys, "author", now=now, reason="stolen")
    after = keyring_bytes(read_keyring(keys))
    other = tmp_path / "other"
    import_keys(other, before, subject="theirs")

    assert [key.name for key in import_keys(other, after, subject="theirs")] == ["author"]
    assert import_keys(other, before, subject="theirs") == ()
    assert read_keyring(other).of_role("author", now) == ()


def test_an_import_changes_nothing_about_a_known_key(keys: Path, now: datetime) -> None:
    fields = json.loads(keyring_bytes(read_keyring(keys)))
    for change in ({"role": "releaser"}, {"expires": "2036-01-01T00:00:00Z"}, {"name": "mallory"}):
        theirs = {**fields, "keys": [{**fields["keys"][0], **change}]}
        data = json.dumps(theirs).encode()
        assert code_of(lambda data=data: import_keys(keys, data, subject="theirs")) == "keyring-invalid"  # type: ignore[misc]


def _first(fields: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**fields, "keys": [{**fields["keys"][0], **changes}, *fields["keys"][1:]]}


@pytest.mark.parametrize(
    "change",
    [
        lambda f: {**f, "keys": f["keys"] + f["keys"][:1]},
        lambda f: {**f, "keys": [*f["keys"], {**f["keys"][0], "role": "releaser"}]},
        lambda f: _first(f, key_id="0" * 64),
        lambda f: _first(f, public=f["keys"][1]["public"]),
        lambda f: _first(f, public="zz"),
        lambda f: _first(f, role="root"),
        lambda f: _first(f, expires=f["keys"][0]["created"]),
        lambda f: _first(f, created="yesterday"),
        lambda f: _first(f, comment="trust me"),
        lambda f: {**f, "schema_version": 2},
        lambda f: {**f, "threshold": 0},
    ],
)
def test_a_keyring_that_contradicts_itself_is_refused(
    keys: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    fields = json.loads((keys / KEYRING_FILE).read_bytes())
    assert len(parse_keyring(json.dumps(fields).encode(), subject="ring").keys) == 3

    data = json.dumps(change(fields)).encode()
    assert code_of(lambda: parse_keyring(data, subject="ring")) == "keyring-invalid"


def test_no_keyring_is_said_so(tmp_path: Path) -> None:
    assert code_of(lambda: read_keyring(tmp_path)) == "keyring-invalid"
    (tmp_path / KEYRING_FILE).symlink_to("/etc/hostname")
    assert code_of(lambda: read_keyring(tmp_path)) == "keyring-invalid"
