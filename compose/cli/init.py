"""`compose init [PATCH...]` and `compose init --run RUN --arm ARM`: write a first manifest, commented."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.add import add_store
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.trust.store import Store, Stored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `init`."""
    parser.add_argument("patches", nargs="*", metavar="PATCH", help="names in the store, in order; by default all")
    add_store(parser)
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="a finished run of an experiment ...")
    parser.add_argument("--arm", metavar="ARM", help="... and the arm whose patches are put into the store")
    parser.add_argument("--name", help="name of the composition; by default the arm's, or made of the patches'")
    parser.add_argument("--version", default="1.0.0", help="its version (default: 1.0.0)")
    parser.add_argument(
        "--out", type=Path, default=Path("manifest.toml"), metavar="FILE", help="(default: manifest.toml)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the manifest is written.

    Raises:
        Rejected: `already-exists`; `store-missing` when the store lacks a patch; and as `add_arm` and
            `initial_manifest`.
    """
    from compose import durable
    from compose.trust.arm import ArmParts, add_arm
    from compose.trust.initial import initial_manifest
    from compose.trust.store import Store

    _check(arguments)
    store = Store(arguments.store)
    if arguments.run is None:
        parts = ArmParts(_newest(store, arguments.patches), "concat", {})
    else:
        parts = add_arm(arguments.run, arguments.arm, store)
    names = [stored.card.name for stored in parts.patches]
    text = initial_manifest(
        parts.patches,
        name=arguments.name or arguments.arm or "-".join(names)[:64].strip("-"),
        version=arguments.version,
        method=parts.method,
        params=parts.params,
        pinned=arguments.run is not None,
    )
    durable.write_text(arguments.out, text)
    print(f"{arguments.out}: {parts.method} of {', '.join(stored.label for stored in parts.patches)}")
    print(f"next: read it, then `compose lock {arguments.out}`")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse arguments that do not go together, and a manifest that is there already."""
    if (arguments.run is None) != (arguments.arm is None) or (arguments.run is not None and arguments.patches):
        raise Rejected(
            "settings-invalid",
            subject="compose init",
            expected="either names of patches, or --run together with --arm",
            got=" ".join(arguments.patches) or f"--run {arguments.run} --arm {arguments.arm}",
            fix="give both --run and --arm, and no names with them",
        )
    if arguments.out.exists():
        raise Rejected(
            "already-exists",
            subject=str(arguments.out),
            expected="a name that is still free: a manifest is written by people",
            got="a file of that name",
            fix="choose another with --out, or remove it",
        )


def _newest(store: Store, names: Sequence[str]) -> tuple[Stored, ...]:
    """Return the newest version of every named patch; of every patch, when none is named."""
    wanted = names or list(dict.fromkeys(stored.card.name for stored in store.all()))
    found = [store.versions(name) for name in wanted]
    missing = [name for name, versions in zip(wanted, found, strict=True) if not versions]
    if missing or not wanted:
        raise Rejected(
            "store-missing",
            subject=f"{', '.join(missing) or 'any patch'} in the store {store.root}",
            expected="patches to make a manifest of",
            got="none",
            fix="put them there with `compose add FOLDER`",
        )
    return tuple(versions[0] for versions in found)


VERB = Verb("write a first manifest, commented", add_arguments, run)
