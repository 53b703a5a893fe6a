"""What the verbs of the algebra share: where the result goes, and under which name and version."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.artifact import Patch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the patches to compose and the description of the result."""
    parser.add_argument("patches", nargs="+", metavar="PATCH", help="folders of the patches, in order")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder that is made for the result")
    parser.add_argument("--name", help="name of the result; by default made of the method and the parts")
    parser.add_argument("--version", help="its version, MAJOR.MINOR.PATCH")


def load_parts(arguments: argparse.Namespace) -> list[Patch]:
    """Return the patches that were named, in order.

    Raises:
        Rejected: When one of them is not there, or is damaged.
    """
    from compose.artifact import load

    return [load(folder) for folder in arguments.patches]


def write_result(patch: Patch, arguments: argparse.Namespace) -> int:
    """Return 0 once the result is saved under the wanted name and its folder is printed.

    Raises:
        Rejected: When the name or version is none, or the folder is taken.
    """
    from compose.artifact import Patch, save
    from compose.parse import revise

    wanted = {"name": arguments.name, "version": arguments.version}
    changes = {key: value for key, value in wanted.items() if value is not None}
    named = Patch(patch.prefix, revise(patch.card, **changes)) if changes else patch
    folder = save(named, arguments.out)
    card = named.card
    print(f"{folder}: {card.name} {card.version}, {card.tokens} tokens, {card.expression}")
    return 0
