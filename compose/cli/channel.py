"""What the verbs about release channels share: their options, the writer, the reader, the full check."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.keys import add_keys, passphrase
from compose.cli.text import printable

if TYPE_CHECKING:
    from compose.trust.client import Reader
    from compose.trust.metadata import Writer
    from compose.trust.release import Event, Withdrawal
    from compose.trust.releasing import Check


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that writes to a channel."""
    parser.add_argument("--channel", type=_folder, required=True, metavar="DIR", help="the channel's folder")
    parser.add_argument("--key", metavar="NAME", help="who signs, when several releasers' private keys are at hand")
    add_keys(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that reads a channel."""
    parser.add_argument("--channel", required=True, metavar="SOURCE", help="the channel's folder or address")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="what was seen of this channel before (default: by its address)"
    )
    add_keys(parser)


def add_change(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a verb that changes what an earlier release counts for."""
    parser.add_argument("name", help="name of the composition")
    parser.add_argument("version", help="the version, MAJOR.MINOR.PATCH")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for those who use it")
    add_writing(parser)


def change(arguments: argparse.Namespace, done: Callable[[Path, str, str, str, Writer, datetime], Event]) -> int:
    """Return 0 once a rollback or yank is part of the channel, and print it."""
    now = datetime.now(UTC)
    writer = writer_of(arguments, now)
    event = done(arguments.channel, arguments.name, arguments.version, arguments.reason, writer, now)
    print(printable(told(event, arguments.name)))
    say_waiting(arguments)
    return 0


def _folder(written: str) -> Path:
    """Return the path of a channel's folder; the address of one would become a folder of that name."""
    if "://" in written:
        raise argparse.ArgumentTypeError("a channel is written to in its folder: copy that to the server afterwards")
    return Path(written)


def writer_of(arguments: argparse.Namespace, now: datetime) -> Writer:
    """Return the releaser who signs, with every other releaser key at hand to hand the channel over."""
    from compose.trust.keyring import read_keyring
    from compose.trust.keys import load_signer, private_signers, sole_holder
    from compose.trust.metadata import Writer

    keys, secret = arguments.keys, passphrase()
    name = arguments.key or sole_holder(keys, "releaser", now=now)
    signer = load_signer(keys, name, "releaser", now=now, passphrase=secret)
    keyring = read_keyring(keys)
    releasers = [key.key_id for key in keyring.keys if key.role == "releaser"]
    return Writer(keyring, signer, private_signers(keys, releasers, passphrase=secret))


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Reader]:
    """Yield the channel that the arguments name, verified as of now."""
    from compose.trust.client import default_state, open_channel
    from compose.trust.keyring import read_keyring

    state = arguments.state or default_state(arguments.channel)
    with open_channel(arguments.channel, read_keyring(arguments.keys), state=state, now=datetime.now(UTC)) as reader:
        yield reader


def full_check(keys: Path) -> Check:
    """Return the check that releases rest on, with the keyring and the suites that this folder vouches for."""
    from compose.trust.check import check_release
    from compose.trust.keyring import read_keyring
    from compose.trust.suites import vouched_for

    keyring, pins = read_keyring(keys), vouched_for(keys)
    return lambda lock, patches, evidence, now: check_release(
        lock, patches, evidence, keyring=keyring, pins=pins, now=now
    )


def say_waiting(arguments: argparse.Namespace) -> bool:
    """Return whether a change of the channel waits for more releasers, and print how to sign it."""
    from compose.trust.cosigning import awaited
    from compose.trust.keyring import read_keyring

    lacking = awaited(arguments.channel, read_keyring(arguments.keys))
    if lacking:
        print(f"no reader sees it yet; releasers who must sign it too: {lacking}")
        print(f"each of them: compose release --cosign --channel {arguments.channel}")
    return lacking > 0


def told_withdrawal(withdrawal: Withdrawal) -> str:
    """Return what was taken back, on one line."""
    patch = withdrawal.patch
    return f"{withdrawal.at}  yank patch {patch.name} {patch.version} ({patch.digest[:19]}): {withdrawal.reason}"


def told(event: Event, name: str) -> str:
    """Return what was done to a channel, on one line."""
    reason = f": {event.reason}" if event.reason else ""
    return f"{event.serial}  {event.at}  {event.action} {name} {event.version} by {event.by[:8]}{reason}"
