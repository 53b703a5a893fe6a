"""One case of the corpus as it will lie on the disk, and the sound files that most cases start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from compose import digest
from compose.parse import card_bytes
from compose.patch_files import SIGNATURE_FILE, PlainPatch, to_files
from compose.trust.claims import Lock
from compose.trust.clock import instant
from compose.trust.keyring import Keyring, keyring_bytes
from compose.trust.lockfile import lock_bytes
from compose.trust.suites import Pins
from tests.unit.trust.cases import NOW, authored, keyring, pins

PROMPTS = 60
CHECK = ("check", "compose.lock", "--store", "store", "--keys", "keys", "--at", instant(NOW), "--json")
PROVE = (*CHECK, "--evidence", "evidence.json")
ADD = ("add", "patch", "--store", "store")
LOCK = ("lock", "manifest.toml", "--store", "store")
Files = dict[str, bytes]


@dataclass(frozen=True)
class CaseFolder:
    """A case.

    Attributes:
        name: Name of its folder, which ends in _ok or _fail.
        why: Why it must end so.
        argv: The words of the command line.
        codes: Codes that must be found, of errors for _fail and of warnings for _ok.
        faults: Numbers of the faults that it stands for.
        files: Path -> bytes.
        links: Path -> what a symbolic link of that name points at.
    """

    name: str
    why: str
    argv: Sequence[str]
    codes: Sequence[str] = ()
    faults: Sequence[int] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


def patch_folder(patch: PlainPatch, place: str = "patch") -> Files:
    """Return a patch's folder."""
    return {f"{place}/{name}": data for name, data in to_files(patch.values, patch.card).items()}


def store_of(patches: Iterable[PlainPatch], signatures: Mapping[str, bytes | None] | None = None) -> Files:
    """Return a store with these patches, and what signs them by name: the author where nothing else is said."""
    files, said = {"store/store.json": b'{"layout":1}\n'}, signatures or {}
    for patch in patches:
        place = f"store/patches/{entry_of(patch)}"
        files |= patch_folder(patch, place)
        signature = said[patch.card.name] if patch.card.name in said else authored(patch.card)
        if signature is not None:
            files[f"{place}/{SIGNATURE_FILE}"] = signature
    return files


def entry_of(patch: PlainPatch) -> str:
    """Return what the store calls the folder of a patch."""
    card = digest.of_bytes(card_bytes(patch.card))
    return f"{patch.card.prefix.removeprefix('sha256:')}-{card.removeprefix('sha256:')}"


def keys_of(ring: Keyring | None = None, known: Pins | None = None) -> Files:
    """Return a folder of public keys, with the suites that are vouched for."""
    suites = (known or pins(PROMPTS)).model_dump_json(indent=1)
    return {"keys/keyring.json": keyring_bytes(ring or keyring()), "keys/suites.json": f"{suites}\n".encode()}


def locked_files(
    lock: Lock,
    patches: Iterable[PlainPatch],
    evidence: bytes | None = None,
    signatures: Mapping[str, bytes | None] | None = None,
) -> Files:
    """Return the files of a case about a lock."""
    files = {"compose.lock": lock_bytes(lock), **store_of(patches, signatures), **keys_of()}
    return files if evidence is None else files | {"evidence.json": evidence}
