"""`compose lock manifest.toml`: resolve a manifest, compose its patches, and pin every digest in compose.lock."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.add import add_store
from compose.cli.text import aligned
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.trust.claims import Lock, Manifest
    from compose.trust.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lock`."""
    parser.add_argument("manifest", type=Path, help="the manifest")
    add_store(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the lock (default: compose.lock beside the manifest)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--upgrade", action="store_true", help="take newer patches although those of the lock still do")
    mode.add_argument("--locked", action="store_true", help="fail, and write nothing, if the lock would change")
    mode.add_argument("--frozen", action="store_true", help="take the lock as it is, whatever the manifest says now")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the lock answers the manifest, or was found to.

    Raises:
        Rejected: `manifest-invalid`, `lock-invalid`, `lock-stale`; and as `make_lock`.
    """
    from compose.trust.claims import lock_digest
    from compose.trust.lockfile import LOCK_FILE, lock_bytes, read_lock_file, write_lock_file
    from compose.trust.locking import recompute
    from compose.trust.manifest import read_manifest_file
    from compose.trust.store import Store

    path: Path = arguments.out or arguments.manifest.parent / LOCK_FILE
    store = Store(arguments.store)
    if arguments.frozen:
        lock, what = read_lock_file(path), "as it is"
        recompute(lock, store)
    else:
        manifest = read_manifest_file(arguments.manifest)
        old = _old(path, strict=arguments.locked)
        lock = _new(manifest, store, old, upgrade=arguments.upgrade)
        same = old is not None and lock_bytes(old) == lock_bytes(lock)
        if arguments.locked and not same:
            raise _stale(path, old, manifest, store)
        if not same:
            write_lock_file(path, lock)
        what = "unchanged" if same else "written"
    rows = [(patch.name, patch.version, f"{patch.tokens} tokens", patch.digest) for patch in lock.patches]
    result = (lock.method.name, lock.version, f"{lock.result.tokens} tokens", lock.result.digest)
    print(aligned([*rows, result]))
    print(f"{path}: {what}, {lock.name} {lock.version}, {lock_digest(lock)}")
    print(f"next: `compose check {path}`")
    return 0


def _old(path: Path, *, strict: bool) -> Lock | None:
    """Return the lock that is there; None when there is none, or, unless `strict`, when nobody could use it."""
    from compose.trust.lockfile import read_lock_file

    if not strict and not path.exists():
        return None
    try:
        return read_lock_file(path)
    except Rejected as error:
        if strict:
            raise
        print(f"{path} is made anew, for it is no lock: {error.got}", file=sys.stderr)
        return None


def _new(manifest: Manifest, store: Store, old: Lock | None, *, upgrade: bool) -> Lock:
    """Return the lock that answers the manifest now."""
    from compose.trust.locking import make_lock, update_lock

    return make_lock(manifest, store) if old is None else update_lock(manifest, store, old, upgrade=upgrade)


def _stale(path: Path, old: Lock | None, manifest: Manifest, store: Store) -> Rejected:
    """Return the error about a lock that would change."""
    from compose.trust.locking import stale

    reasons = list(stale(old, manifest, store)) if old is not None else []
    return Rejected(
        "lock-stale",
        subject=str(path),
        expected="a lock that answers the manifest as it is",
        got="; ".join(reasons) or "a lock of another text of the manifest, or another result of its patches",
        fix="run `compose lock` without --locked, look at `compose diff`, and take the new lock",
    )


VERB = Verb("resolve a manifest and pin every digest", add_arguments, run)
