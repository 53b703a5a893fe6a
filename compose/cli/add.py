"""`compose add FOLDER... [--store DIR]`: put patches into a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from compose.cli.verb import Verb
from compose.errors import Rejected

STORE = Path("store")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `add`."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders of the patches")
    add_store(parser)
    parser.add_argument("--name", help="name to give the patch, instead of its card's")
    parser.add_argument("--version", help="version to give the patches, instead of their cards', MAJOR.MINOR.PATCH")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument("--store", type=Path, default=STORE, metavar="DIR", help="the store (default: ./store)")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once every patch is in the store.

    Raises:
        Rejected: As `Store.put`; `settings-invalid` when one name is given to several patches.
    """
    from compose.trust.store import Store

    if arguments.name is not None and len(arguments.folders) > 1:
        raise Rejected(
            "settings-invalid",
            subject=f"--name {arguments.name}",
            expected="one patch for one name",
            got=f"{len(arguments.folders)} folders",
            fix="add them one by one",
        )
    store = Store(arguments.store)
    for folder in arguments.folders:
        stored = store.put(folder, name=arguments.name, version=arguments.version)
        risks = ", ".join(stored.card.risks) or "no risk named"
        print(f"{stored.label}: {stored.card.tokens} tokens, for {risks}, {stored.card.prefix}")
    return 0


VERB = Verb("put patches into a store", add_arguments, run)
