"""`compose rollback NAME VERSION --reason TEXT --channel DIR`: make an earlier release current again.

The rollback is a new signed version of the channel, so that no reader takes it for an attack.
"""

from __future__ import annotations

import argparse

from compose.cli.channel import add_change, change
from compose.cli.verb import Verb


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once it is done.

    Raises:
        Rejected: What the channel refuses.
    """
    from compose.trust.channel import rollback

    return change(arguments, rollback)


VERB = Verb("make an earlier release current again", add_change, run)
