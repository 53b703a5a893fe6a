"""`compose check compose.lock`: every rule and every finding; with --evidence, whether the gates are proven.

Exit status 0 allows, 1 denies, 2 is an error of input.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.keys import add_keys
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.trust.claims import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument("lock", type=Path, metavar="LOCK", help="the lock, as `compose lock` wrote it")
    parser.add_argument("--store", type=Path, default=Path("store"), metavar="DIR", help="the store (default: store)")
    parser.add_argument(
        "--evidence", action="append", default=[], type=Path, metavar="FILE", help="sealed evidence; may be repeated"
    )
    add_keys(parser)
    parser.add_argument("--at", metavar="TIME", help="as of this moment, such as 2026-11-25T12:00:00Z (default: now)")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 when the composition is allowed and 1 when it is denied.

    Raises:
        Rejected: `lock-invalid`, `evidence-invalid`, `keyring-invalid` or `settings-invalid` for files and words that
            cannot be read; what is wrong with a composition is a finding.
    """
    from compose.trust.check import check, gather
    from compose.trust.keyring import known_keys, read_keyring
    from compose.trust.lockfile import read_lock_file
    from compose.trust.store import Store
    from compose.trust.suites import vouched_for

    lock = read_lock_file(arguments.lock)
    proven = bool(arguments.evidence)
    case = gather(
        lock,
        Store(arguments.store),
        read_evidence(arguments.evidence),
        keyring=read_keyring(arguments.keys) if proven else known_keys(arguments.keys),
        pins=vouched_for(arguments.keys),
        now=_moment(arguments.at),
    )
    verdict = check(case, proven=proven)
    if arguments.json:
        print(json.dumps(verdict.model_dump(mode="json"), indent=1))
    else:
        print(printable(told(verdict, f"{lock.name} {lock.version}")))
    return 0 if verdict.decision == "allow" else 1


def read_evidence(paths: list[Path]) -> dict[str, bytes]:
    """Return the bytes of files of evidence, each read once, by their names.

    Raises:
        Rejected: `evidence-invalid` for a file that is missing, given twice or not plain.
    """
    from compose.plain_file import read_bytes
    from compose.trust.seal import MAX_SEALED_BYTES

    found: dict[str, bytes] = {}
    for path in paths:
        data = read_bytes(path, max_bytes=MAX_SEALED_BYTES, code="evidence-invalid", subject=str(path))
        if data is None or str(path) in found:
            raise Rejected(
                "evidence-invalid",
                subject=str(path),
                expected="a file of evidence, named once",
                got="no such file" if data is None else "the same file again",
                fix="check the path; `compose evaluate compose.lock` makes evidence",
            )
        found[str(path)] = data
    return found


def told(verdict: Verdict, name: str) -> str:
    """Return a verdict for people: every finding, and then what it comes to."""
    lines = []
    for one in verdict.findings:
        lines += [
            f"{one.severity} {one.code}: {one.subject}",
            f"  expected: {one.expected}",
            f"  found:    {one.got}",
            f"  fix:      {one.fix}",
        ]
    errors = sum(one.severity == "error" for one in verdict.findings)
    proof = (
        f"proven by {_count(len(verdict.evidence), 'file')} of evidence"
        if verdict.evidence
        else "nothing is proven yet"
    )
    if verdict.decision == "deny":
        proof = _count(errors, "error")
    rest = _count(len(verdict.findings) - errors, "warning")
    lines.append(f"{verdict.decision}: {name}, {verdict.lock[:19]}, {proof}, {rest}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _moment(written: str | None) -> datetime:
    """Return the moment of the check.

    Raises:
        Rejected: `settings-invalid`.
    """
    from compose.trust.clock import moment

    if written is None:
        return datetime.now(UTC)
    try:
        return moment(written)
    except ValueError as error:
        raise Rejected(
            "settings-invalid",
            subject="--at",
            expected="a UTC time as 2026-11-25T12:00:00Z",
            got=ascii(written)[:60],
            fix="correct it, or leave it out for now",
        ) from error


VERB = Verb("check a locked composition, and prove its gates with evidence", add_arguments, run)
