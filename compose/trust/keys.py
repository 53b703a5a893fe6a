"""Ed25519 keys in a folder: private halves for their owner alone, beside the keyring of public halves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from compose import durable
from compose.errors import Rejected
from compose.parse import make_record
from compose.plain_file import read_bytes
from compose.trust.clock import instant
from compose.trust.keyring import (
    KEYRING_FILE,
    Keyring,
    PublicKey,
    Role,
    keyring_bytes,
    known_keys,
    parse_keyring,
    read_keyring,
    revised,
)

MAX_PRIVATE_BYTES = 4096
LONGEST_DAYS = 3660


def new_key(
    folder: Path, name: str, role: Role, *, now: datetime, days: int = 365, passphrase: bytes | None = None
) -> PublicKey:
    """Return the public half of a new key, whose private half is `folder/NAME.key` afterwards.

    Args:
        folder: The folder of keys; made when it is not there.
        name: Its holder.
        role: What it may sign.
        now: Its creation.
        days: How long it counts.
        passphrase: What encrypts the private half; None leaves it to the rights on the file.

    Raises:
        Rejected: `already-exists`, when the holder has a key; `keyring-invalid`; `settings-invalid` for a name or a
            number of days that cannot be; `disk-full` or `read-only`.
    """
    with _writing(folder):
        keyring = known_keys(folder)
        if keyring.named(name) or _private_path(folder, name).exists():
            raise Rejected(
                "already-exists",
                subject=f"key {name} in {folder}",
                expected="a name that no key has yet",
                got="a key of that name",
                fix=f"choose another name, or exchange the key with `compose keys rotate {name}`",
            )
        return _add_key(folder, keyring, name, role, now=now, days=days, passphrase=passphrase)


def rotate_key(
    folder: Path, name: str, *, now: datetime, days: int = 365, passphrase: bytes | None = None
) -> PublicKey:
    """Return the public half of a new key for a holder who has one; `NAME.key` is the new private half.

    The old key goes on counting for what it has signed. Its private half is kept as `NAME.<start of its id>.key`, since
    a channel that only knows the old key is handed over to the new one by both; delete it when that is done.

    Raises:
        Rejected: `key-missing`, when no key has this name; and as `new_key`.
    """
    with _writing(folder):
        keyring = known_keys(folder)
        former = keyring.named(name)
        if not former:
            raise _no_key(folder, name)
        path = _private_path(folder, name)
        data = read_bytes(path, max_bytes=MAX_PRIVATE_BYTES, code="key-missing", subject=str(path), private=True)
        if data is not None:
            # Copied before the new one takes its place: after a crash between the two, both names hold the old key.
            durable.write_bytes(_former_path(folder, former[-1]), data, private=True)
        return _add_key(folder, keyring, name, former[-1].role, now=now, days=days, passphrase=passphrase)


def revoke_key(folder: Path, who: str, *, now: datetime, reason: str) -> PublicKey:
    """Return a key that counts no more from now on.

    Args:
        folder: The folder of keys.
        who: The holder, when one key of that name is left to revoke, or the start of the key's id (8 digits or more).
        now: The moment, for the record: signatures from before do not count either.
        reason: Why, for people.

    Raises:
        Rejected: `key-missing` when none or several keys are meant; `settings-invalid` for a reason that is empty or no
            plain text; `keyring-invalid`.
    """
    with _writing(folder):
        keyring = read_keyring(folder)
        found = [key for key in keyring.keys if key.revoked is None and _meant(key, who)]
        if len(found) != 1:
            ids = ", ".join(key.key_id[:8] for key in found)
            raise Rejected(
                "key-missing",
                subject=f"key {who} in {folder}",
                expected="the name or the first 8 digits of one key that was not revoked yet",
                got=f"the keys {ids}" if found else "no such key",
                fix="look at `compose keys list`" if not found else "say which one by its digits",
            )
        fields = {**_fields(found[0]), "revoked": {"at": instant(now), "reason": reason}}
        revoked = make_record(PublicKey, fields, subject=f"key {who}", code="settings-invalid")
        _write(folder, revised(keyring, keys=tuple(revoked if key == found[0] else key for key in keyring.keys)))
    return revoked


def import_keys(folder: Path, data: bytes, *, subject: str) -> tuple[PublicKey, ...]:
    """Return the keys of another keyring that are new in this folder's or were revoked there, and take them over.

    A key is never taken back from revoked to trusted, and the role of a known key never changes. Who must sign a patch
    is taken over for the patches of which this keyring does not say it, and the higher threshold of the two counts.

    Raises:
        Rejected: `keyring-invalid`, when the other keyring is malformed or says another thing of a known key.
    """
    theirs = parse_keyring(data, subject=subject)
    with _writing(folder):
        before = known_keys(folder)
        ours = {key.key_id: key for key in before.keys}
        changed = []
        for key in theirs.keys:
            known = ours.get(key.key_id)
            if known is not None and _fields(known) | {"revoked": None} != _fields(key) | {"revoked": None}:
                raise Rejected(
                    "keyring-invalid",
                    subject=subject,
                    expected=f"of key {key.key_id[:8]}: {known.role} {known.name}, {known.created} to {known.expires}",
                    got=f"{key.role} {key.name}, {key.created} to {key.expires}",
                    fix="ask whoever made the keyring which of the two is right",
                )
            if known is None or (known.revoked is None and key.revoked is not None):
                ours[key.key_id] = key
                changed.append(key)
        both = {
            "keys": tuple(ours.values()),
            "authors": {**theirs.authors, **before.authors},
            "threshold": max(theirs.threshold, before.threshold),
        }
        _write(folder, revised(before, **both))
    return tuple(changed)


def pin_patches(folder: Path, holder: str, patches: Iterable[str]) -> Keyring:
    """Return the keyring, in which these patches count only when this author, or another one pinned for them, signed.

    Raises:
        Rejected: `key-missing`, when nobody of this name has an author key; `keyring-invalid` for what is no name.
    """
    with _writing(folder):
        keyring = read_keyring(folder)
        if not any(key.role == "author" for key in keyring.named(holder)):
            raise Rejected(
                "key-missing",
                subject=f"author key {holder} in {folder}",
                expected="the holder of an author key",
                got="no such key",
                fix="get it from its holder and `compose keys import` it; `compose keys list` has those there are",
            )
        authors = dict(keyring.authors)
        for patch in patches:
            authors[patch] = tuple(dict.fromkeys([*authors.get(patch, ()), holder]))
        keyring = revised(keyring, authors=authors)
        _write(folder, keyring)
    return keyring


def set_threshold(folder: Path, threshold: int) -> None:
    """Let it take so many releasers to change a channel.

    Raises:
        Rejected: `keyring-invalid`, when the keyring has fewer, or there is none.
    """
    with _writing(folder):
        _write(folder, revised(read_keyring(folder), threshold=threshold))


def load_signer(folder: Path, name: str, role: Role, *, now: datetime, passphrase: bytes | None = None) -> CryptoSigner:
    """Return the signer of a holder whose key has the role and counts at `now`.

    Raises:
        Rejected: `key-missing`, `key-permissions`, `key-passphrase`, `key-role`, `key-revoked`, `key-expired` or
            `keyring-invalid`.
    """
    keyring = read_keyring(folder)
    signer = _open_private(_private_path(folder, name), passphrase)
    key = keyring.find(signer.public_key.keyid)
    if key is None or key.name != name:
        raise _no_key(folder, name)
    if key.role != role:
        raise Rejected(
            "key-role",
            subject=f"key {name} in {folder}",
            expected=f"a key with the role {role}",
            got=f"the role {key.role}",
            fix=f"make one with `compose keys new NAME --role {role}`",
        )
    key.check_in_force(now)
    return signer


def sole_holder(folder: Path, role: Role, *, now: datetime) -> str:
    """Return the only holder of a key with this role that counts and whose private half is in the folder.

    Raises:
        Rejected: `key-missing`, when there is none, or several to choose from; `keyring-invalid`.
    """
    keys = read_keyring(folder).of_role(role, now)
    holders = sorted({key.name for key in keys if _private_path(folder, key.name).exists()})
    if len(holders) != 1:
        raise Rejected(
            "key-missing",
            subject=f"{role} key in {folder}",
            expected=f"one {role} whose private key is in the folder, or a word on which one signs",
            got=", ".join(holders) or "none",
            fix="name its holder with --key" if holders else f"make one with `compose keys new NAME --role {role}`",
        )
    return holders[0]


def private_signers(folder: Path, key_ids: Iterable[str], *, passphrase: bytes | None = None) -> list[CryptoSigner]:
    """Return the signers of those keys whose private halves are in the folder, rotated ones included.

    Raises:
        Rejected: `key-permissions`, `key-passphrase` or `keyring-invalid`.
    """
    keyring, found = read_keyring(folder), {}
    for key_id in key_ids:
        key = keyring.find(key_id)
        for path in () if key is None else (_private_path(folder, key.name), _former_path(folder, key)):
            signer = _open_private(path, passphrase) if path.exists() else None
            if signer is not None and signer.public_key.keyid == key_id:
                found[key_id] = signer
    return list(found.values())


def _add_key(
    folder: Path, keyring: Keyring, name: str, role: Role, *, now: datetime, days: int, passphrase: bytes | None
) -> PublicKey:
    """Return the public half of a freshly made key, written to the keyring and then to `NAME.key`."""
    if not 1 <= days <= LONGEST_DAYS:
        raise Rejected(
            "settings-invalid",
            subject=f"validity of key {name}",
            expected=f"1 to {LONGEST_DAYS} days",
            got=f"{days} days",
            fix="choose another number; a key can be rotated before it expires",
        )
    private = Ed25519PrivateKey.generate()
    verifier = SSlibKey.from_crypto(private.public_key())
    fields = {
        "name": name,
        "role": role,
        "key_id": verifier.keyid,
        "public": verifier.keyval["public"],
        "created": instant(now),
        "expires": instant(now + timedelta(days=days)),
    }
    key = make_record(PublicKey, fields, subject=f"key {name}", code="settings-invalid")
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    _write(folder, revised(keyring, keys=(*keyring.keys, key)))
    durable.write_bytes(_private_path(folder, name), pem, private=True)
    return key


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of keys for the block; a new folder is one that its owner alone may enter."""
    with durable.refused_by_disk(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with durable.locked(folder / KEYRING_FILE):
        yield


def _write(folder: Path, keyring: Keyring) -> None:
    """Write the keyring, and keep private halves out of git."""
    durable.write_bytes(folder / KEYRING_FILE, keyring_bytes(keyring))
    if not (folder / ".gitignore").exists():
        durable.write_text(folder / ".gitignore", "*.key\n")


def _open_private(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """Return the signer of a private key file."""
    data = read_bytes(path, max_bytes=MAX_PRIVATE_BYTES, code="key-missing", subject=str(path), private=True)
    if data is None:
        raise _no_key(path.parent, path.stem)
    try:
        private = serialization.load_pem_private_key(data, passphrase or None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        # Never `error` itself: it may quote what it could not read.
        raise Rejected(
            "key-passphrase",
            subject=str(path),
            expected="a PEM file of an Ed25519 key, and the passphrase that it was made with",
            got="a passphrase that does not open it" if passphrase else "one that does not open without a passphrase",
            fix="set COMPOSE_KEY_PASSPHRASE to the passphrase, or unset it for a key without one",
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise Rejected(
            "key-missing",
            subject=str(path),
            expected="an Ed25519 key",
            got=f"a {type(private).__name__}",
            fix="make a key with `compose keys new`",
        )
    return CryptoSigner(private)


def _meant(key: PublicKey, who: str) -> bool:
    """Return whether `who` names this key."""
    return key.name == who or (len(who) >= 8 and key.key_id.startswith(who))


def _fields(key: PublicKey) -> dict[str, object]:
    """Return the fields of a key as Python values."""
    return {name: getattr(key, name) for name in PublicKey.model_fields}


def _private_path(folder: Path, name: str) -> Path:
    """Return where the private half of a holder's newest key is."""
    return folder / f"{name}.key"


def _former_path(folder: Path, key: PublicKey) -> Path:
    """Return where the private half of a rotated key is kept; a holder's name has no dot."""
    return folder / f"{key.name}.{key.key_id[:8]}.key"


def _no_key(folder: Path, name: str) -> Rejected:
    """Return the error about a key that is not there."""
    return Rejected(
        "key-missing",
        subject=f"key {name} in {folder}",
        expected=f"{name}.key and its public half in {KEYRING_FILE}",
        got="no such key",
        fix="look at `compose keys list`, make one with `compose keys new`, or name the folder with --keys",
    )
