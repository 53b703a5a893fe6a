"""A change of a channel that waits for more releasers: looked at, checked in full, and signed by one more.

Whoever signs vouches for all that the channel would hold, so this looks at the whole difference to what enough
releasers have signed before: it may only add events and withdrawals, and the files of new releases; every new release
is checked again from its bytes. Where too few have signed the channel as it is (its first version, or a threshold that
was raised), everything in it is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from compose import durable
from compose.errors import Rejected
from compose.trust.channel import Held, writing
from compose.trust.claims import Verdict
from compose.trust.client import Fetched, Named, open_release, read_files
from compose.trust.clock import moment
from compose.trust.keyring import Keyring
from compose.trust.metadata import (
    TIMESTAMP_DAYS,
    Signatures,
    Writer,
    check_signable,
    cosigned,
    put_forward,
    read_signed,
    vouched,
)
from compose.trust.proposal import Proposal, proposal_refused, read_proposal
from compose.trust.release import (
    HISTORY_FILE,
    MAX_RELEASED_FILE_BYTES,
    RELEASE_FILE,
    WITHDRAWN_FILE,
    Event,
    Release,
    Withdrawal,
)
from compose.trust.releasing import Check, recheck
from compose.trust.seal import MAX_SEALED_BYTES


class Reviewed(NamedTuple):
    """A release that enough releasers have not signed yet, and the full verdict on it."""

    release: Release
    verdict: Verdict


@dataclass(frozen=True)
class Waiting:
    """A change that waits for signatures: all that enough releasers have not signed before.

    Attributes:
        events: Name of a composition and what is done to it, in the order of names and then of time.
        withdrawals: The patches that are taken back.
        reviewed: The releases among it that readers could use.
        new_root: Whether it names the channel's releasers, or how many must sign, anew.
        lacking: How many releasers must still sign it.
    """

    events: tuple[tuple[str, Event], ...]
    withdrawals: tuple[Withdrawal, ...]
    reviewed: tuple[Reviewed, ...]
    new_root: bool
    lacking: int

    @property
    def allowed(self) -> bool:
        """Whether the check allows every release of it."""
        return all(one.verdict.decision == "allow" for one in self.reviewed)


def awaited(channel: Path, keyring: Keyring) -> int:
    """Return how many releasers must still sign the change that waits in a channel; 0 when none does.

    Raises:
        Rejected: `proposal-refused`; as `read_signed`.
    """
    before = read_signed(channel, keyring)
    root = before.root if before else None
    proposal = read_proposal(channel, root)
    return proposal.lacking(root) if proposal else 0


def review(channel: Path, keyring: Keyring, now: datetime, *, check: Check) -> Waiting:
    """Return the change that waits in a channel, checked, and sign nothing.

    Args:
        channel: The channel's folder.
        keyring: The keys that are trusted.
        now: The moment.
        check: The full check.

    Raises:
        Rejected: `release-missing` when nothing waits; `proposal-refused` for what nobody should sign; what reading a
            release and the channel refuse.
    """
    with durable.locked(channel, waiting_for="another writer of this channel"):
        return _reviewed(channel, read_signed(channel, keyring), keyring, now, check)[1]


def cosign(channel: Path, writer: Writer, now: datetime, *, check: Check) -> Waiting:
    """Return the change that waited, signed by one more; readers see it when it lacks nobody any more.

    Nothing is signed of which the check denies a release.

    Raises:
        Rejected: As `review` and `compose.trust.channel.writing`; `proposal-refused` for one who has signed it already.
    """
    with writing(channel, writer, now) as session:
        proposal, waiting = _reviewed(channel, session.before, writer.keyring, now, check)
        if not waiting.allowed:
            return waiting
        proposal = cosigned(channel, session.before, proposal, writer, now)
        put_forward(channel, session.before, proposal, writer.signer, now)
        return replace(waiting, lacking=proposal.lacking(session.before.root if session.before else None))


def _reviewed(
    channel: Path, before: Signatures | None, keyring: Keyring, now: datetime, check: Check
) -> tuple[Proposal, Waiting]:
    """Return what waits in a channel, and all that is to be said about it."""
    root = before.root if before else None
    proposal = read_proposal(channel, root)
    if proposal is None:
        raise Rejected(
            "release-missing",
            subject=str(channel),
            expected="a change that waits for the signatures of more releasers",
            got="nothing waits",
            fix="check the folder; what has enough signatures is shown by `compose current --history`",
        )
    check_signable(channel, before, proposal, keyring, now)
    there, new = Held(channel, before.targets if before else {}), Held(channel, proposal.targets.signed.targets)
    trusted = there if before is not None and vouched(before.root, keyring, now) else Held(channel, {})
    _check_logs(there, new, now)
    _check_files(there, new, keyring, now)
    waiting = Waiting(
        events=tuple(_events(trusted, new)),
        withdrawals=new.withdrawals().patches[len(trusted.withdrawals().patches) :],
        reviewed=tuple(
            Reviewed(fetched.release, recheck(fetched, check=check))
            for fetched in _usable(trusted, there, new, keyring, now)
        ),
        new_root=proposal.root is not None,
        lacking=proposal.lacking(root),
    )
    return proposal, waiting


def _names(*several: Held) -> list[str]:
    """Return the names of which there is a history."""
    ending = f"/{HISTORY_FILE}"
    return sorted({path.removesuffix(ending) for held in several for path in held.targets if path.endswith(ending)})


def _events(known: Held, new: Held) -> Iterator[tuple[str, Event]]:
    """Yield the events that are not known yet, each with its name."""
    for name in _names(new):
        yield from ((name, event) for event in new.history(name).events[len(known.history(name).events) :])


def _check_logs(there: Held, new: Held, now: datetime) -> None:
    """Refuse logs that lose or change an entry, or add one of another time than now."""
    logs: list[tuple[Sequence[Event | Withdrawal], Sequence[Event | Withdrawal]]] = [
        (there.history(name).events, new.history(name).events) for name in _names(there, new)
    ]
    for old, after in [*logs, (there.withdrawals().patches, new.withdrawals().patches)]:
        if after[: len(old)] != old:
            raise proposal_refused(
                new.channel, "all events and withdrawals that are there, and more", "others, or fewer"
            )
        for entry in after[len(old) :]:
            # A release is checked as of its moment: a date of long ago would bring back evidence and keys of then.
            if not timedelta(0) <= now - moment(entry.at) <= timedelta(days=TIMESTAMP_DAYS):
                raise proposal_refused(new.channel, f"a change of the last {TIMESTAMP_DAYS} days", f"one of {entry.at}")


def _check_files(there: Held, new: Held, keyring: Keyring, now: datetime) -> None:
    """Refuse targets that lose or exchange a file, or add one that is of no new release."""
    due = {WITHDRAWN_FILE, *(f"{name}/{HISTORY_FILE}" for name in _names(new))}
    for name, event in _events(there, new):
        if event.action == "release":
            release = _fetched(new, name, event, keyring, now).release
            if release.released != event.at:
                raise proposal_refused(new.channel, f"a release of {event.at}", f"one of {release.released}")
            due |= {f"{name}/{event.version}/{path}" for path in (RELEASE_FILE, *(one.path for one in release.files))}
    strange = [path for path in new.targets if path not in due and new.targets[path] != there.targets.get(path)]
    lost = sorted(set(there.targets) - set(new.targets))
    if strange or lost:
        got = f"{len(strange)} others and {len(lost)} missing: {', '.join([*strange, *lost][:4])}"
        raise proposal_refused(new.channel, "the files that are there, and those of new releases", got)


def _usable(trusted: Held, there: Held, new: Held, keyring: Keyring, now: datetime) -> Iterator[Fetched]:
    """Yield every release that enough releasers have not signed yet, and that readers would not refuse anyway."""
    withdrawals, old = new.withdrawals(), set(_events(trusted, there))
    for name, event in _events(trusted, new):
        if event.action != "release" or event.version in new.history(name).yanked:
            continue
        try:
            fetched = _fetched(new, name, event, keyring, now)
        except Rejected as error:
            if error.code in ("key-expired", "key-revoked") and (name, event) in old:
                continue
            raise
        if withdrawals.among(fetched.release.patches) is None:
            yield fetched


def _fetched(held: Held, name: str, event: Event, keyring: Keyring, now: datetime) -> Fetched:
    """Return a release with all of its files, verified against the targets, its seal and its own list."""
    prefix = f"{name}/{event.version}/"
    subject, named = f"{held.channel}: {prefix}", Named(name, event.version, event.release)

    def read(path: str, max_bytes: int = MAX_RELEASED_FILE_BYTES) -> bytes:
        data = held.read(prefix + path, max_bytes)
        if data is None:
            raise proposal_refused(held.channel, f"the file {prefix}{path} of a release", "no such file")
        return data

    release, signed_by = open_release(read(RELEASE_FILE, MAX_SEALED_BYTES), named, keyring, now, subject=subject)
    return Fetched(release, named.digest, signed_by, read_files(release, read, subject=subject))
