"""`compose yank NAME VERSION --reason TEXT --channel DIR`: take a release back for good.

Readers refuse it from then on. The yank of the current release leaves none, until a release or a rollback.
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
    from compose.trust.channel import yank

    return change(arguments, yank)


VERB = Verb("take a release back for good", add_change, run)
