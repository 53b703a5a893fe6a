"""`compose concat A B --out DIR`: one patch behind the other; the last stands nearest the prompt."""

from __future__ import annotations

import argparse

from compose.cli import composition
from compose.cli.verb import Verb


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the concatenation is saved."""
    from compose.algebra import concat

    return composition.run(arguments, lambda parts: concat(*parts))


VERB = Verb("put patches one behind the other", composition.add_arguments, run)
