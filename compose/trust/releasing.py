"""From a lock to what is released, and from there back to a verdict. Nothing is bundled that is not allowed.

The check runs on the very bytes that are released, under the names that they are released with, so that whoever fetches
them can run it again and find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from compose import digest
from compose.errors import Rejected
from compose.parse import read_record, strict_json
from compose.patch_files import CARD_FILE, SIGNATURE_FILE, PlainPatch, from_files, read_folder
from compose.records import FORBIDDEN_TEXT, ParentRef
from compose.trust.channel import Bundle
from compose.trust.claims import Finding, Lock, Verdict, canonical, lock_digest
from compose.trust.client import Fetched, Reader
from compose.trust.clock import moment
from compose.trust.keyring import Keyring
from compose.trust.lockfile import lock_bytes, read_lock
from compose.trust.ranges import number
from compose.trust.release import EVIDENCE_PREFIX, LOCK_FILE, PATCHES_PREFIX, VERDICT_FILE, Event, History
from compose.trust.store import Store

MAX_EVIDENCE_FILES = 64
MAX_VERDICT_BYTES = 4 * 1024 * 1024
MAX_TEXT_CHARACTERS = 4096


class BundledPatches:
    """The patches of a release, found by their digests.

    Args:
        files: Path -> bytes of the release's files.
        subject: What the release is called in errors.
    """

    def __init__(self, files: Mapping[str, bytes], subject: str) -> None:
        self._subject = subject
        self._folders: dict[str, dict[str, bytes]] = {}
        for path, data in files.items():
            if path.startswith(PATCHES_PREFIX):
                folder, _, name = path.removeprefix(PATCHES_PREFIX).partition("/")
                self._folders.setdefault(folder, {})[name] = data

    def get(self, prefix: str, card_digest: str) -> PlainPatch:
        """Return a patch, found to have these digests.

        Raises:
            Rejected: `store-missing` when the release does not hold it, `store-damaged` when its folder holds another.
        """
        entry = _entry(prefix, card_digest)
        if entry not in self._folders:
            raise self._missing(f"the patch {prefix[:19]}... with the card {card_digest[:19]}...")
        return self._read(entry)

    def find(self, prefix: str) -> PlainPatch:
        """Return a patch with this matrix, whatever its card: the newest when several cards describe it.

        Raises:
            Rejected: As `get`.
        """
        start = f"{prefix.removeprefix('sha256:')}-"
        found = [self._read(entry) for entry in sorted(self._folders) if entry.startswith(start)]
        if not found:
            raise self._missing(f"a patch with the matrix {prefix[:19]}...")
        return max(found, key=lambda held: number(held.card.version))

    def signature(self, prefix: str, card_digest: str) -> bytes | None:
        """Return the bytes of a patch's signature.json, or None when the release holds none."""
        return self._folders.get(_entry(prefix, card_digest), {}).get(SIGNATURE_FILE)

    def _read(self, entry: str) -> PlainPatch:
        files, subject = self._folders[entry], f"{self._subject}: {PATCHES_PREFIX}{entry}"
        contents = from_files(files, subject=subject)
        found = contents.card and _entry(contents.card.prefix, digest.of_bytes(files[CARD_FILE]))
        if contents.card is None or found != entry:
            raise Rejected(
                "store-damaged",
                subject=subject,
                expected="the patch and the card that the folder is named after",
                got=found or "a patch without a card",
                fix="tell the maintainers of the release; do not use it",
            )
        return PlainPatch(contents.values, contents.card)

    def _missing(self, wanted: str) -> Rejected:
        return Rejected(
            "store-missing",
            subject=self._subject,
            expected=wanted,
            got="no such patch among its files",
            fix="tell the maintainers of the release; do not use it",
        )


Check = Callable[[Lock, BundledPatches, Mapping[str, bytes], datetime], Verdict]
"""The full check of a lock, its patches and its evidence (by name) as of a moment."""


class Prepared(NamedTuple):
    """A verdict, and what may be released when it allows."""

    verdict: Verdict
    bundle: Bundle | None


def prepare(
    lock: Lock, store: Store, evidence: Sequence[bytes], *, check: Check, now: datetime, note: str = ""
) -> Prepared:
    """Return the verdict on a lock with its evidence and, when it allows, everything that a release of it holds.

    Args:
        lock: The lock.
        store: Where its patches are.
        evidence: Sealed evidence, each file's bytes.
        check: The full check.
        now: The moment of the release.
        note: What its users should know.

    Raises:
        Rejected: `store-missing` or `store-damaged`, when a patch cannot be read; `release-invalid` for too many files
            of evidence.
    """
    if len(evidence) > MAX_EVIDENCE_FILES:
        raise _invalid(f"release of {lock.name}", f"at most {MAX_EVIDENCE_FILES} files of evidence", str(len(evidence)))
    exhibits = {f"{EVIDENCE_PREFIX}{place:02d}.json": data for place, data in enumerate(evidence, start=1)}
    files = {LOCK_FILE: lock_bytes(lock), **exhibits}
    for entry in _entries(lock, store):
        held = read_folder(store.patches / entry)
        files |= {f"{PATCHES_PREFIX}{entry}/{name}": data for name, data in held.items()}
    patches = BundledPatches(files, f"release of {lock.name} {lock.version}")
    verdict = check(lock, patches, exhibits, now)
    if verdict.decision != "allow":
        return Prepared(verdict, None)
    files[VERDICT_FILE] = canonical(verdict)
    return Prepared(verdict, Bundle(lock.name, lock.version, lock.base, lock_digest(lock), _patches(lock), files, note))


def recheck(fetched: Fetched, *, check: Check) -> Verdict:
    """Return the verdict on a release that was fetched, made anew from its bytes as of the moment of its release.

    Evidence grows old and keys expire after a release, which is why the moment is the one that the releaser signed. A
    key that was revoked since then counts for nothing, whatever the moment.

    Raises:
        Rejected: `release-invalid` or `lock-invalid`, when its lock is not the one that it names or its stored verdict
            is not about that lock and that evidence.
    """
    release, subject = fetched.release, f"release of {fetched.release.name} {fetched.release.version}"
    lock = read_lock(fetched.files[LOCK_FILE], subject=f"{subject}: {LOCK_FILE}")
    found = (lock_digest(lock), lock.name, lock.version, lock.base, _patches(lock))
    if found != (release.lock, release.name, release.version, release.base, release.patches):
        raise _invalid(subject, f"the lock {release.lock}", f"{lock.name} {lock.version}, {found[0]}")
    exhibits = {path: fetched.files[path] for path in sorted(fetched.files) if path.startswith(EVIDENCE_PREFIX)}
    told = read_verdict(fetched.files[VERDICT_FILE], subject=f"{subject}: {VERDICT_FILE}")
    digests = tuple(digest.of_bytes(data) for data in exhibits.values())
    if (told.decision, told.lock, told.evidence) != ("allow", release.lock, digests):
        raise _invalid(subject, "a verdict that allows this lock for this evidence", f"{told.decision} {told.lock}")
    return check(lock, BundledPatches(fetched.files, subject), exhibits, moment(release.released))


def read_verdict(data: bytes, *, subject: str) -> Verdict:
    """Return the verdict that canonical JSON spells.

    Raises:
        Rejected: `release-invalid`.
    """
    fields = strict_json(data, subject=subject, code="release-invalid", max_bytes=MAX_VERDICT_BYTES)
    return read_record(Verdict, fields, subject=subject, code="release-invalid")


class Audited(NamedTuple):
    """What an audit found of one release.

    Attributes:
        name: Name of the composition.
        version: Its version.
        standing: "current", "released", "yanked", or "withdrawn" when one of its patches was.
        findings: What the check says now, or why the release cannot be checked.
    """

    name: str
    version: str
    standing: str
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing denies it."""
        return all(finding.severity != "error" for finding in self.findings)


def audit(reader: Reader, keyring: Keyring, *, check: Check, names: Iterable[str] | None = None) -> Iterator[Audited]:
    """Yield every release of a channel, yanked ones too, verified again from its bytes.

    Args:
        reader: The channel.
        keyring: The keys that are trusted, for those that signed the channel's events.
        check: The full check.
        names: The names to look at; all when None.

    Raises:
        Rejected: As `Reader.history`, for a name whose history cannot be read.
    """
    withdrawals = reader.withdrawals()
    for name in reader.names() if names is None else names:
        history = reader.history(name)
        for version in history.released:
            findings = [_doubted(event, keyring) for event in history.events if event.version == version]
            standing = _standing(history, version)
            try:
                fetched = reader.fetch(name, version, withdrawn=True)
                if withdrawals.among(fetched.release.patches) is not None and standing != "yanked":
                    standing = "withdrawn"
                findings.append(recheck(fetched, check=check).findings)
            except Rejected as error:
                findings.append((_finding(error),))
            yield Audited(name, version, standing, tuple(each for part in findings for each in part))


def _standing(history: History, version: str) -> str:
    if version in history.yanked:
        return "yanked"
    return "current" if history.current is not None and history.current.version == version else "released"


def _doubted(event: Event, keyring: Keyring) -> tuple[Finding, ...]:
    """Return what is to be said about who says to have done something to a channel."""
    key = keyring.find(event.by)
    if key is not None and key.role == "releaser" and key.revoked is None:
        return ()
    got = "a key that is not in the keyring" if key is None else f"the {key.role} key {key.name}"
    if key is not None and key.revoked is not None:
        got += f", revoked at {key.revoked.at}: {key.revoked.reason}"
    return (
        Finding(
            code="key-revoked" if key is not None and key.revoked is not None else "key-unknown",
            severity="warning",
            subject=f"event {event.serial}: {event.action} of {event.version} at {event.at}",
            expected="the key of a releaser who is trusted",
            got=got,
            fix="look whether the event was meant; if not, roll back or yank with a key that counts",
        ),
    )


def _finding(error: Rejected) -> Finding:
    """Return an error as a finding."""
    said = {"subject": error.subject, "expected": error.expected, "got": error.got, "fix": error.fix}
    plain = {name: FORBIDDEN_TEXT.sub("?", text)[:MAX_TEXT_CHARACTERS] for name, text in said.items()}
    return Finding(code=error.code, severity="error", **plain)


def _patches(lock: Lock) -> tuple[ParentRef, ...]:
    """Return what a release says of the patches that it is made of."""
    return tuple(ParentRef(name=patch.name, version=patch.version, digest=patch.digest) for patch in lock.patches)


def _entries(lock: Lock, store: Store) -> list[str]:
    """Return the folders in the store of all patches that a lock rests on: its members, and the init of a sum."""
    entries = [_entry(patch.digest, patch.card) for patch in lock.patches]
    for entry, patch in zip(entries, lock.patches, strict=True):
        if not (store.patches / entry).is_dir():
            store.get(patch.digest, patch.card)  # says what is missing, and from which store
    init = lock.method.params.get("init")
    if isinstance(init, str):
        described = [stored for stored in store.all() if stored.card.prefix == init]
        entries += [stored.entry for stored in described]
    return sorted(set(entries))


def _entry(prefix: str, card_digest: str) -> str:
    """Return what the folder of a patch is called, in a release as in the store."""
    return f"{prefix.removeprefix('sha256:')}-{card_digest.removeprefix('sha256:')}"


def _invalid(subject: str, expected: str, got: str) -> Rejected:
    return Rejected(
        "release-invalid",
        subject=subject,
        expected=expected,
        got=got,
        fix="have its maintainers release it anew; do not use it",
    )
