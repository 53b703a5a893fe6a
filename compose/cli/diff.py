"""`compose diff OLD.lock NEW.lock`: what is different between two locks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from compose.cli.text import printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diff`."""
    parser.add_argument("old", type=Path, help="a lock")
    parser.add_argument("new", type=Path, help="another lock")
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the changes are printed.

    Raises:
        Rejected: `lock-invalid`.
    """
    from compose.trust.difference import difference
    from compose.trust.lockfile import read_lock_file

    changes = difference(read_lock_file(arguments.old), read_lock_file(arguments.new))
    if arguments.json:
        print(json.dumps([change._asdict() for change in changes], indent=1, ensure_ascii=False))
    else:
        print(printable("\n".join(map(str, changes)) or "no difference"))
    return 0


VERB = Verb("say what is different between two locks", add_arguments, run)
