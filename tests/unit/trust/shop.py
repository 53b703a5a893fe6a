"""A maintainer with a release channel and deployers who read it, with a clock that the test moves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from compose import digest
from compose.records import ParentRef
from compose.trust.channel import Bundle, publish, renew, rollback, withdraw, yank
from compose.trust.claims import ClaimedBase
from compose.trust.client import Fetched, Reader, open_channel
from compose.trust.keyring import Keyring, read_keyring
from compose.trust.keys import load_signer, new_key, private_signers
from compose.trust.metadata import Writer
from compose.trust.release import Event, Withdrawal

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAME = "calm"


def patch(name: str, version: str) -> ParentRef:
    """Return a patch whose matrix is known by its name and version."""
    return ParentRef(name=name, version=version, digest=digest.of_bytes(f"{name} {version}".encode()))


def bundle(version: str, name: str = NAME, content: bytes = b"") -> Bundle:
    """Return a bundle whose files say which version they are of."""
    mark = f"{name} {version} ".encode() + content
    return Bundle(
        name=name,
        version=version,
        base=ClaimedBase(name="tiny", fingerprint="sha256:" + "b" * 64),
        lock="sha256:" + "c" * 64,
        patches=(patch("tox", version), patch("bias", "1.0.0")),
        files={
            "compose.lock": b"lock " + mark,
            "verdict.json": b"verdict " + mark,
            "evidence-1.json": b"evidence " + mark,
            "patches/aa-bb/adapter_model.safetensors": b"tensor " + mark,
        },
    )


@dataclass
class Shop:
    """One channel, the keys of its maintainer, and the time."""

    root: Path
    releaser: str = "releaser"
    now: datetime = field(default=NOON)

    @property
    def channel(self) -> Path:
        return self.root / "channel"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def keyring(self) -> Keyring:
        return read_keyring(self.keys)

    def advance(self, days: float = 0, seconds: float = 1) -> None:
        self.now += timedelta(days=days, seconds=seconds)

    def writer(self) -> Writer:
        ring = self.keyring
        every = [key.key_id for key in ring.keys if key.role == "releaser"]
        signer = load_signer(self.keys, self.releaser, "releaser", now=self.now)
        return Writer(ring, signer, private_signers(self.keys, every))

    def release(self, version: str, name: str = NAME) -> Event:
        self.advance()
        return publish(self.channel, bundle(version, name), self.writer(), self.now)

    def rollback(self, version: str, reason: str = "it was worse") -> Event:
        self.advance()
        return rollback(self.channel, NAME, version, reason, self.writer(), self.now)

    def yank(self, version: str, reason: str = "it is harmful") -> Event:
        self.advance()
        return yank(self.channel, NAME, version, reason, self.writer(), self.now)

    def withdraw(self, name: str, version: str, reason: str = "it was stolen") -> tuple[Withdrawal, ...]:
        self.advance()
        return withdraw(self.channel, name, version, reason, self.writer(), self.now)

    def renew(self) -> int | None:
        self.advance()
        return renew(self.channel, self.writer(), self.now)

    def open(
        self, source: str | None = None, *, who: str = "deployer", keyring: Keyring | None = None
    ) -> AbstractContextManager[Reader]:
        """Return the channel as one deployer sees it, who remembers what they saw."""
        return open_channel(
            source or str(self.channel), keyring or self.keyring, state=self.root / "seen" / who, now=self.now
        )

    def current(self, source: str | None = None, *, who: str = "deployer") -> str:
        with self.open(source, who=who) as reader:
            return reader.current(NAME).version

    def fetch(self, version: str | None = None, source: str | None = None, *, who: str = "deployer") -> Fetched:
        with self.open(source, who=who) as reader:
            return reader.fetch(NAME, version)


def open_shop(root: Path, days: int = 1000) -> Shop:
    """Return a shop with one releaser, whose key counts for so many days."""
    new_key(root / "keys", "releaser", "releaser", now=NOON, days=days)
    return Shop(root)
