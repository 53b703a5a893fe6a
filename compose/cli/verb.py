"""What one verb of the command line is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Verb(NamedTuple):
    """A line of help, the arguments, and what is done with them.

    Attributes:
        help: What the verb does, as a phrase.
        add_arguments: Adds the verb's arguments to its parser.
        run: Does it, and returns the exit status.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
