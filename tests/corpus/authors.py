"""Cases about the signatures of authors on patches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

from compose.patch_files import SIGNATURE_FILE
from compose.trust.clock import instant
from compose.trust.keyring import Keyring, PublicKey
from compose.trust.seal import seal
from tests.corpus.folder import ADD, CHECK, PROMPTS, PROVE, CaseFolder, entry_of, keys_of, locked_files, patch_folder
from tests.unit.trust.cases import NOW, authored, keyring, locked, measurement, members, patch, sealed, signer

HELD = members()
TOX = HELD[0]
LOCK = locked(HELD)
ASKING = locked(HELD, require_signed_patches=True)
PINNED = keyring().model_copy(update={"authors": {"tox": ("author",)}})
Signature = bytes | None


def author_cases() -> Iterator[CaseFolder]:
    """Yield the cases."""
    yield from _asked_for()
    yield from _keys()
    yield from _over_other_bytes()
    yield from _added()


def _tox(
    name: str, why: str, codes: tuple[str, ...], fault: int, signature: Signature, ring: Keyring | None = None
) -> CaseFolder:
    """Return a case about the sound lock, one of whose patches carries another signature."""
    files = locked_files(LOCK, HELD, signatures={"tox": signature}) | keys_of(ring)
    return CaseFolder(f"author-{name}", why, CHECK, codes, (fault,) if fault else (), files)


def _asked_for() -> Iterator[CaseFolder]:
    """Yield patches without a signature, or without the right one, where it is asked for and where not."""
    warned = ("patch-unsigned", "static-only")
    yield _tox("unsigned_ok", "An unsigned patch, and nobody asks for signatures.", warned, 42, None)
    why = "An unsigned patch whose name the keyring gives to an author."
    yield _tox("unsigned-pinned_fail", why, ("patch-unsigned",), 42, None, PINNED)
    proof = sealed(ASKING, measurement(ASKING, n=PROMPTS))
    why = "The manifest asks for signatures, and every patch has one."
    yield CaseFolder("author-asked-for_ok", why, PROVE, files=locked_files(ASKING, HELD, proof))
    why = "The manifest asks for signatures: every gate is proven, and one patch has none."
    files = locked_files(ASKING, HELD, proof, {"tox": None})
    yield CaseFolder("author-unsigned-asked-for_fail", why, PROVE, ("patch-unsigned",), (42,), files)
    why = "The author signed whom the keyring names for the patch."
    yield _tox("pinned_ok", why, ("static-only",), 0, authored(TOX.card), PINNED)
    second = PublicKey.model_validate({**dict(keyring().keys[0]), **_public("second"), "name": "second"})
    both = PINNED.model_copy(update={"keys": (*keyring().keys, second)})
    why = "An author of the keyring signed, and it names another one for the patch."
    yield _tox("other_fail", why, ("patch-author",), 42, authored(TOX.card, holder="second"), both)


def _public(holder: str) -> dict[str, str]:
    """Return the fields of an author's public key."""
    public = signer("author", holder).public_key
    return {"key_id": public.keyid, "public": public.keyval["public"]}


def _keys() -> Iterator[CaseFolder]:
    """Yield sound signatures by keys that do not count."""
    stranger = authored(TOX.card, holder="stranger")
    warned = ("key-unknown", "static-only")
    yield _tox("unknown_ok", "Signed by a stranger, which is worth what no signature is.", warned, 42, stranger)
    why = "Signed by a stranger, and the keyring names an author for the patch."
    yield _tox("unknown-pinned_fail", why, ("key-unknown",), 42, stranger, PINNED)
    why = "Signed by a stranger, and the manifest asks for signatures."
    files = locked_files(ASKING, HELD, signatures={"tox": stranger})
    yield CaseFolder("author-unknown-asked-for_fail", why, CHECK, ("key-unknown",), (42,), files)
    for role in ("evaluator", "releaser"):
        why = f"Signed by the {role}, whose signature is not for patches."
        yield _tox(f"{role}_fail", why, ("key-role",), 42, authored(TOX.card, role=role))
    rings = {
        "revoked": {"revoked": {"at": instant(NOW), "reason": "lost"}},
        "expired": {"expires": instant(NOW - timedelta(days=1))},
    }
    for name, change in rings.items():
        ring = keyring(lambda fields, change=change: {**fields, **change} if fields["role"] == "author" else fields)  # type: ignore[misc]
        why = f"The author's key is {name}; an unsigned patch would be a warning."
        yield _tox(f"{name}_fail", why, (f"key-{name}",), 42, authored(TOX.card), ring)


def _over_other_bytes() -> Iterator[CaseFolder]:
    """Yield signatures of an author that do not belong to the patch, or are damaged."""
    other = ("signature-other",)
    altered = patch("tox", "toxicity", seed=0, metrics={"m": {"value": 0.0, "direction": "lower"}})
    lock = locked((altered, HELD[1]))
    files = locked_files(lock, (altered, HELD[1]), signatures={"tox": authored(TOX.card)})
    yield CaseFolder("author-card_fail", "The card was altered after it was signed.", CHECK, other, (26,), files)
    yield _tox("moved_fail", "The signature of another patch.", other, 43, authored(HELD[1].card))
    good, moved = (json.loads(authored(one.card)) for one in HELD)
    edited = json.dumps({**moved, "payload": good["payload"]}, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    yield _tox("payload_fail", "This patch's payload under another one's signature.", ("seal-forged",), 43, edited)
    stripped = json.dumps({**good, "signatures": []}, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    yield _tox("stripped_fail", "An envelope without a signature.", ("seal-invalid",), 43, stripped)
    kind = seal(b"{}", "application/vnd.compose.release+json", signer("author"))
    yield _tox("type_fail", "Another kind of payload.", ("seal-type",), 43, kind)
    yield _tox("torn_fail", "Half a signature.", ("seal-invalid",), 43, authored(TOX.card)[:100])
    files = locked_files(LOCK, HELD, signatures={"tox": None})
    link = {f"store/patches/{entry_of(TOX)}/{SIGNATURE_FILE}": f"../{entry_of(HELD[1])}/{SIGNATURE_FILE}"}
    why = "A link in the place of a signature."
    yield CaseFolder("author-link_fail", why, CHECK, ("store-damaged",), (20,), files, link)


def _added() -> Iterator[CaseFolder]:
    """Yield signed patches that are put into a store."""
    files = patch_folder(TOX) | {f"patch/{SIGNATURE_FILE}": authored(TOX.card)}
    yield CaseFolder("author-add_ok", "A signed patch is put into a store.", ADD, files=files)
    why = "A signed patch is added under a version that its author has not signed."
    argv = (*ADD, "--version", "2.0.0")
    yield CaseFolder("author-add-renamed_fail", why, argv, ("signature-other",), (26,), files)
