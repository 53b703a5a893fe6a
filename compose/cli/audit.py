"""`compose audit --channel SOURCE`: every release of a channel verified again from its bytes.

Exit status 1 when one of them does not stand up.
"""

from __future__ import annotations

import argparse

from compose.cli.channel import add_reading, full_check, opened
from compose.cli.text import printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `audit`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="compositions to look at (default: all)")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 when every release is sound, else 1.

    Raises:
        Rejected: What reading the channel refuses.
    """
    from compose.trust.keyring import read_keyring
    from compose.trust.releasing import audit

    keyring, found = read_keyring(arguments.keys), []
    with opened(arguments) as reader:
        for one in audit(reader, keyring, check=full_check(arguments.keys), names=arguments.names or None):
            found.append(one)
            print(printable(f"{'sound' if one.sound else 'UNSOUND'}  {one.name} {one.version} ({one.standing})"))
            for each in one.findings:
                print(printable(f"  {each.severity} {each.code}: {each.subject}: {each.got}"))
    unsound = sum(not one.sound for one in found)
    print(f"{len(found)} releases, {unsound} unsound")
    return 1 if unsound else 0


VERB = Verb("verify every release of a channel again", add_arguments, run)
