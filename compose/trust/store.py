"""The store: patches by content, in a folder. The only writer of it, and a reader that believes no name.

<store>/store.json                                          what this folder is, and its layout
<store>/patches/<hex of prefix>-<hex of card>/              adapter_config.json, adapter_model.safetensors, patch.json,
                                                            and signature.json when an author has signed it
<store>/patches.lock                                        held by whoever writes

A patch's folder is named by the digests of its matrix and of its patch.json, from which its other bytes follow. What is
in the store is found by reading the cards: there is no index that could be lost or could lie. A signature may come
later, or take another's place: whether it is good is for those to say who have a keyring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compose import digest, durable, plain_file
from compose.errors import Rejected
from compose.parse import card_bytes, read_card, revise, strict_json
from compose.patch_files import (
    CARD_FILE,
    MAX_BYTES,
    SIGNATURE_FILE,
    PlainPatch,
    from_files,
    read_folder,
    to_files,
)
from compose.records import PatchCard
from compose.trust.claims import LockedPatch
from compose.trust.ranges import number

LAYOUT = 1
LAYOUT_FILE = "store.json"
PATCHES = "patches"
MAX_LAYOUT_BYTES = 4096
LOCK_TIMEOUT_S = 600.0
_ENTRY = re.compile(r"[0-9a-f]{64}-[0-9a-f]{64}")


@dataclass(frozen=True)
class Stored:
    """A patch in the store: its card, and the digest of the card's bytes."""

    card: PatchCard
    card_digest: str

    @property
    def label(self) -> str:
        """Name and version, as people say them."""
        return f"{self.card.name} {self.card.version}"

    @property
    def entry(self) -> str:
        """Name of its folder."""
        return _entry(self.card.prefix, self.card_digest)

    @property
    def locked(self) -> LockedPatch:
        """The patch as a lock pins it."""
        return LockedPatch(
            name=self.card.name,
            version=self.card.version,
            digest=self.card.prefix,
            card=self.card_digest,
            tokens=self.card.tokens,
            risks=self.card.risks,
        )


class Store:
    """A store's folder. Nothing is made before something is put.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.patches = root / PATCHES

    def put(
        self,
        folder: Path,
        *,
        name: str | None = None,
        version: str | None = None,
        says: Mapping[str, object] | None = None,
    ) -> Stored:
        """Return the patch of a folder, which is in the store afterwards; one that is there already stays as it is.

        The folder's signature comes with it, in the place of an earlier one.

        Args:
            folder: A patch's folder with a card.
            name: Name to give it, instead of its card's.
            version: Version to give it, instead of its card's.
            says: What its card shall say of other patches, instead: `requires`, `conflicts`, `breaks`, `provides`.

        Raises:
            Rejected: As `patch_files.from_files`; `artifact-missing` without a card; `store-conflict` when the store
                has another patch of this name and version; `signature-other` when the folder's patch is signed and
                would become another; `store-damaged`; `locked`, `disk-full` or `read-only`.
        """
        files = read_folder(folder)
        contents = from_files(files, subject=str(folder))
        if contents.card is None:
            raise Rejected(
                "artifact-missing",
                subject=f"{folder}/{CARD_FILE}",
                expected="a card: what a patch is for and which base it is for must be known",
                got="no such file",
                fix="take it for a patch of a base with `compose concat PATCH --model BASE --out DIR`, and add that",
            )
        card, data = contents.card, files[CARD_FILE]
        given = {"name": name, "version": version, **(says or {})}
        changes = {key: value for key, value in given.items() if value is not None}
        if changes:
            card = revise(card, **changes)
            data = card_bytes(card)
        if SIGNATURE_FILE in files and data != files[CARD_FILE]:
            raise _unsigned_by_this(folder, contents.card)
        stored = Stored(card, digest.of_bytes(data))
        with self._writing():
            self._write(PlainPatch(contents.values, card), stored, data)
            if SIGNATURE_FILE in files:
                self._attach(stored, files[SIGNATURE_FILE])
        return stored

    def sign(self, stored: Stored, signature: bytes) -> None:
        """Keep what an author has signed of a patch in the store, in the place of an earlier signature.

        Raises:
            Rejected: `store-missing` or `store-damaged`; `locked`, `disk-full` or `read-only`.
        """
        with self._writing():
            self._check_there(stored.card.prefix, stored.card_digest)
            self._attach(stored, signature)

    def signature(self, prefix: str, card_digest: str) -> bytes | None:
        """Return the bytes of a patch's signature.json, not verified; None when nobody has signed it.

        Raises:
            Rejected: `store-damaged`, for anything but a plain file of sane size.
        """
        path = self.patches / _entry(prefix, card_digest) / SIGNATURE_FILE
        return plain_file.read_bytes(path, max_bytes=MAX_BYTES[SIGNATURE_FILE], code="store-damaged", subject=str(path))

    def get(self, prefix: str, card_digest: str) -> PlainPatch:
        """Return the matrix and the card of a patch, read once and found to have these digests.

        Raises:
            Rejected: `store-missing` when it is not in the store, `store-damaged` when its folder holds another.
        """
        entry = _entry(prefix, card_digest)
        self._check_layout()
        self._check_there(prefix, card_digest)
        try:
            files = read_folder(self.patches / entry)
            contents = from_files(files, subject=str(self.patches / entry))
        except Rejected as error:
            raise self._damaged(entry, str(error.got)) from error
        found = digest.of_bytes(files.get(CARD_FILE, b""))
        if contents.card is None or (contents.card.prefix, found) != (prefix, card_digest):
            raise self._damaged(entry, f"the patch {contents.card and contents.card.prefix} with card {found}")
        return PlainPatch(contents.values, contents.card)

    def find(self, prefix: str) -> PlainPatch:
        """Return a patch with this matrix, whatever its card says; the newest when several cards describe it.

        Raises:
            Rejected: `store-missing` or `store-damaged`.
        """
        found = [stored for stored in self.all() if stored.card.prefix == prefix]
        if not found:
            raise Rejected(
                "store-missing",
                subject=f"a patch with the matrix {prefix[:19]}...",
                expected=f"that it is in the store {self.root}",
                got="no such patch",
                fix="add its folder with `compose add`, or name the store it is in with --store",
            )
        newest = max(found, key=lambda stored: number(stored.card.version))
        return self.get(newest.card.prefix, newest.card_digest)

    def all(self) -> tuple[Stored, ...]:
        """Return every patch in the store, by name and then from the newest version to the oldest.

        Raises:
            Rejected: `store-damaged`.
        """
        self._check_layout()
        entries = sorted(self.patches.iterdir()) if self.patches.is_dir() else []
        found = [self._stored(path.name) for path in entries if not path.name.startswith(".")]
        by_version = sorted(found, key=lambda stored: number(stored.card.version), reverse=True)
        return tuple(sorted(by_version, key=lambda stored: stored.card.name))

    def versions(self, name: str) -> tuple[Stored, ...]:
        """Return the patches of a name, from the newest version to the oldest.

        Raises:
            Rejected: `store-damaged`.
        """
        return tuple(stored for stored in self.all() if stored.card.name == name)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the store alone for the block."""
        with durable.locked(self.patches, timeout_s=LOCK_TIMEOUT_S, waiting_for=f"another writer of {self.root}"):
            self._check_layout()
            if not (self.root / LAYOUT_FILE).exists():
                durable.write_json(self.root / LAYOUT_FILE, {"layout": LAYOUT})
            durable.sweep(self.root)
            durable.sweep(self.patches)
            yield

    def _write(self, patch: PlainPatch, stored: Stored, card: bytes) -> None:
        """Write a patch's folder, unless it is there."""
        self._check_free(stored, self.versions(stored.card.name))
        if not (self.patches / stored.entry).exists():
            # The card's own bytes, which somebody may have signed; the other files follow from the two digests.
            files = {**to_files(patch.values, patch.card), CARD_FILE: card}
            with durable.new_folder(self.patches / stored.entry) as unfinished:
                for name, data in files.items():
                    durable.write_bytes(unfinished / name, data)

    def _attach(self, stored: Stored, signature: bytes) -> None:
        """Write a patch's signature, unless it is there."""
        if self.signature(stored.card.prefix, stored.card_digest) != signature:
            folder = self.patches / stored.entry
            durable.sweep(folder)
            durable.write_bytes(folder / SIGNATURE_FILE, signature)

    def _check_there(self, prefix: str, card_digest: str) -> None:
        """Refuse a patch that is not in the store."""
        if not (self.patches / _entry(prefix, card_digest)).is_dir():
            raise Rejected(
                "store-missing",
                subject=f"patch {prefix[:19]}... with card {card_digest[:19]}...",
                expected=f"that it is in the store {self.root}",
                got="no such patch",
                fix="add its folder with `compose add`, or name the store it is in with --store",
            )

    def _check_free(self, stored: Stored, others: Iterable[Stored]) -> None:
        """Refuse a second patch of one name and version."""
        for other in others:
            if other.card.version == stored.card.version and other != stored:
                same = other.card.prefix == stored.card.prefix
                raise Rejected(
                    "store-conflict",
                    subject=stored.label,
                    expected="one patch of one name and version",
                    got=f"{'another card of this matrix' if same else f'another matrix, {other.card.prefix}'} is there",
                    fix="give this one a version of its own with --version (or a name with --name)",
                )

    def _stored(self, entry: str) -> Stored:
        """Return the patch of a folder's name, by its card's bytes."""
        if _ENTRY.fullmatch(entry) is None:
            raise self._damaged(entry, "a name that the store gives to nothing")
        path = self.patches / entry / CARD_FILE
        subject = f"{entry}/{CARD_FILE}"
        data = plain_file.read_bytes(path, max_bytes=MAX_BYTES[CARD_FILE], code="store-damaged", subject=subject)
        if data is None:
            raise self._damaged(entry, f"no {CARD_FILE}")
        stored = Stored(read_card(data, subject=str(path)), digest.of_bytes(data))
        if stored.entry != entry:
            raise self._damaged(entry, f"the card of {stored.label}, {stored.entry}")
        return stored

    def _check_layout(self) -> None:
        """Refuse a folder that is another program's, or of another layout."""
        path = self.root / LAYOUT_FILE
        data = plain_file.read_bytes(path, max_bytes=MAX_LAYOUT_BYTES, code="store-damaged", subject=str(path))
        if data is None:
            if self.patches.is_dir() and any(self.patches.iterdir()):
                raise self._damaged(LAYOUT_FILE, "no such file beside its patches")
            return
        found = strict_json(data, subject=str(path), code="store-damaged", max_bytes=MAX_LAYOUT_BYTES)
        if found != {"layout": LAYOUT}:
            raise self._damaged(LAYOUT_FILE, ascii(found)[:80])

    def _damaged(self, entry: str, got: str) -> Rejected:
        """Return the error about something in the store."""
        return Rejected(
            "store-damaged",
            subject=f"{self.root}: {entry[:140]}",
            expected=f"a store of layout {LAYOUT}, each patch under the digests of its matrix and its card",
            got=got,
            fix="move it out of the store, and add the patch again from its own folder",
        )


def _unsigned_by_this(folder: Path, card: PatchCard) -> Rejected:
    """Return the error about a signed patch that would get another card, which its author has not signed."""
    return Rejected(
        "signature-other",
        subject=f"{folder}/{SIGNATURE_FILE}",
        expected=f"that {card.name} {card.version} is added as its author has signed it",
        got="another name, version or relation",
        fix=f"add it without them; or take {SIGNATURE_FILE} out of a copy of the folder, and sign the patch yourself",
    )


def _entry(prefix: str, card_digest: str) -> str:
    """Return the name of a patch's folder."""
    return f"{prefix.removeprefix('sha256:')}-{card_digest.removeprefix('sha256:')}"
