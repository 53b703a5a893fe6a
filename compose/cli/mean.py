"""`compose mean A B --weights .5,.5 --out DIR`: the weighted mean of patches of equal shape."""

from __future__ import annotations

import argparse

from compose.cli import composition
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mean`."""
    composition.add_arguments(parser)
    parser.add_argument("--weights", metavar="W,W", help="one per patch, together 1; equal ones by default")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the mean is saved."""
    from compose.algebra import mean

    weights = None if arguments.weights is None else _numbers(arguments.weights)
    return composition.run(arguments, lambda parts: mean(parts, weights))


def _numbers(text: str) -> list[float]:
    """Return the numbers of a comma-separated list.

    Raises:
        Rejected: `settings-invalid`, when one of them is none.
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise Rejected(
            "settings-invalid",
            subject=f"--weights {text}",
            expected="numbers with commas between them, such as .5,.5",
            got=str(error),
            fix="write one number per patch",
        ) from error


VERB = Verb("average patches of equal shape", add_arguments, run)
