"""`compose add FOLDER... [--store DIR]`: put patches into a store, under names, versions and relations of yours."""

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
    for kind, meaning in (
        ("requires", "must stand in every composition with it"),
        ("conflicts", "may not stand in a composition with it"),
        ("breaks", "is undone by it"),
    ):
        told = f"what {meaning}, such as bias or 'bias>=1.2.0,<2.0.0'; may be repeated"
        parser.add_argument(f"--{kind}", action="append", metavar="PATCH", help=told)
    parser.add_argument("--provides", action="append", metavar="NAME", help="a further name that others may require")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument("--store", type=Path, default=STORE, metavar="DIR", help="the store (default: ./store)")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once every patch is in the store.

    Raises:
        Rejected: As `Store.put`; `settings-invalid` when one name is given to several patches; `version-invalid`.
    """
    from compose.trust.ranges import relation
    from compose.trust.resolve import KINDS
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
    says: dict[str, object] = {
        kind: tuple(map(relation, words)) for kind in KINDS if (words := getattr(arguments, kind)) is not None
    }
    if arguments.provides is not None:
        says["provides"] = tuple(arguments.provides)
    for folder in arguments.folders:
        stored = store.put(folder, name=arguments.name, version=arguments.version, says=says)
        risks = ", ".join(stored.card.risks) or "no risk named"
        print(f"{stored.label}: {stored.card.tokens} tokens, for {risks}, {stored.card.prefix}")
    return 0


VERB = Verb("put patches into a store", add_arguments, run)
