"""`compose release compose.lock --evidence E --channel DIR`: check once more, sign, and make it the current version.

Nothing skips the check. Exit status 1 when it denies; nothing is released then. Where it takes several releasers, the
others run the check again and sign with --cosign.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from compose.cli.channel import add_writing, full_check, say_waiting, told, told_withdrawal, writer_of
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `release`."""
    parser.add_argument("lock", type=Path, nargs="?", metavar="LOCK", help="the lock, as `compose lock` wrote it")
    parser.add_argument(
        "--evidence", action="append", default=[], type=Path, metavar="FILE", help="sealed evidence; may be repeated"
    )
    parser.add_argument("--store", type=Path, default=Path("store"), metavar="DIR", help="the store (default: store)")
    parser.add_argument("--note", default="", metavar="TEXT", help="what its users should know")
    add_writing(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--renew", action="store_true", help="release nothing: sign the channel anew before it expires, or for new keys"
    )
    instead.add_argument("--waiting", action="store_true", help="print and check the change that waits for signatures")
    instead.add_argument("--cosign", action="store_true", help="sign that change too, once it has passed the check")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once it is released, renewed or cosigned, or waits for others to; 1 when the check denies.

    Raises:
        Rejected: `settings-invalid` without a lock to release; and what reading the files and writing the channel
            refuse.
    """
    if arguments.renew:
        return _renew(arguments)
    if arguments.waiting or arguments.cosign:
        return _cosign(arguments)
    if arguments.lock is None:
        raise Rejected(
            "settings-invalid",
            subject="compose release",
            expected="the lock to release, or --renew, --waiting or --cosign",
            got="none of them",
            fix="compose release compose.lock --evidence FILE --channel DIR",
        )
    return _release(arguments)


def _release(arguments: argparse.Namespace) -> int:
    """Check and release a lock."""
    from compose.cli.check import read_evidence
    from compose.cli.check import told as told_verdict
    from compose.trust.channel import publish
    from compose.trust.lockfile import read_lock_file
    from compose.trust.releasing import prepare
    from compose.trust.store import Store

    now = datetime.now(UTC)
    lock = read_lock_file(arguments.lock)
    evidence = list(read_evidence(arguments.evidence).values())
    writer = writer_of(arguments, now)  # a wrong passphrase is said before the check, not after
    verdict, bundle = prepare(
        lock, Store(arguments.store), evidence, check=full_check(arguments.keys), now=now, note=arguments.note
    )
    print(printable(told_verdict(verdict, f"{lock.name} {lock.version}")))
    if bundle is None:
        print("nothing was released")
        return 1
    event = publish(arguments.channel, bundle, writer, now)
    print(printable(told(event, lock.name)))
    say_waiting(arguments)
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    """Sign a channel anew."""
    from compose.trust.channel import renew
    from compose.trust.metadata import TIMESTAMP_DAYS

    now = datetime.now(UTC)
    version = renew(arguments.channel, writer_of(arguments, now), now)
    if version is not None:
        print(f"channel version {version}: readers believe it for {TIMESTAMP_DAYS} days")
    say_waiting(arguments)
    return 0


def _cosign(arguments: argparse.Namespace) -> int:
    """Print and check the change that waits, and sign it if that is asked for."""
    from compose.cli.check import told as told_verdict
    from compose.trust.cosigning import cosign, review
    from compose.trust.keyring import read_keyring

    now, check = datetime.now(UTC), full_check(arguments.keys)
    if arguments.cosign:
        waiting = cosign(arguments.channel, writer_of(arguments, now), now, check=check)
    else:
        waiting = review(arguments.channel, read_keyring(arguments.keys), now, check=check)
    lines = [told(event, name) for name, event in waiting.events]
    lines += [told_withdrawal(each) for each in waiting.withdrawals]
    lines += ["the channel's releasers, or how many must sign, are named anew"] if waiting.new_root else []
    lines += [told_verdict(one.verdict, f"{one.release.name} {one.release.version}") for one in waiting.reviewed]
    print(printable("\n".join(lines) or "the channel is renewed, and holds what it held"))
    if not waiting.allowed:
        print("nothing was signed")
        return 1
    if not say_waiting(arguments):
        print("enough releasers have signed: readers see it")
    return 0


VERB = Verb("sign and release a composition whose gates are proven", add_arguments, run)
