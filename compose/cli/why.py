"""`compose why PATCH`: why a patch is in a lock, and in no other version."""

from __future__ import annotations

import argparse
from pathlib import Path

from compose.cli.add import add_store
from compose.cli.text import printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `why`."""
    parser.add_argument("patch", help="name of a patch in the lock")
    parser.add_argument("--manifest", type=Path, default=Path("manifest.toml"), help="(default: manifest.toml)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="(default: compose.lock beside the manifest)")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the reasons are printed.

    Raises:
        Rejected: `manifest-invalid`, `lock-invalid`, or as `compose.trust.why.why`.
    """
    from compose.trust.lockfile import LOCK_FILE, read_lock_file
    from compose.trust.locking import universe
    from compose.trust.manifest import read_manifest_file
    from compose.trust.store import Store
    from compose.trust.why import why

    manifest = read_manifest_file(arguments.manifest)
    lock = read_lock_file(arguments.lock or arguments.manifest.parent / LOCK_FILE)
    print(printable("\n".join(why(arguments.patch, manifest, lock, universe(Store(arguments.store))))))
    return 0


VERB = Verb("say why a patch is in a lock, and in no other version", add_arguments, run)
