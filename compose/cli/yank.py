"""`compose yank NAME VERSION --reason TEXT --channel DIR`: take a release back for good, or with --patch a patch.

Readers refuse it from then on. The yank of the current release leaves none, until a release or a rollback. The yank of
a patch takes back every release that it is part of, under whichever name.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from compose.cli.channel import add_change, change, say_waiting, told_withdrawal, writer_of
from compose.cli.text import printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `yank`."""
    add_change(parser)
    parser.add_argument("--patch", action="store_true", help="NAME and VERSION are those of a patch in releases")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once it is done.

    Raises:
        Rejected: What the channel refuses.
    """
    from compose.trust.channel import withdraw, yank

    if not arguments.patch:
        return change(arguments, yank)
    now = datetime.now(UTC)
    writer = writer_of(arguments, now)
    for each in withdraw(arguments.channel, arguments.name, arguments.version, arguments.reason, writer, now):
        print(printable(told_withdrawal(each)))
    say_waiting(arguments)
    return 0


VERB = Verb("take a release back for good, or every release with a patch", add_arguments, run)
