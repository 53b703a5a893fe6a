"""`compose current NAME --channel SOURCE`: which version is current, since when and why; with --history all before."""

from __future__ import annotations

import argparse
import json

from compose.cli.channel import add_reading, opened, told
from compose.cli.text import pairs, printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `current`."""
    parser.add_argument("name", help="name of the composition")
    add_reading(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--history", action="store_true", help="print every release, rollback and yank")
    shape.add_argument("--json", action="store_true", help="print the release as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the current release is verified and printed.

    Raises:
        Rejected: What reading the channel refuses; `release-withdrawn` when the current release was yanked.
    """
    with opened(arguments) as reader:
        if arguments.history:
            events = reader.history(arguments.name).events
            print(printable("\n".join(told(event, arguments.name) for event in events)))
            return 0
        event = reader.current(arguments.name)
        fetched = reader.fetch(arguments.name, event.version)
    release = fetched.release
    if arguments.json:
        print(json.dumps(release.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False))
        return 0
    rows = [
        ("current", f"{release.name} {release.version}"),
        ("since", f"{event.at} by {event.action}" + (f": {event.reason}" if event.reason else "")),
        ("base", f"{release.base.name}, {release.base.fingerprint[:19]}"),
        ("lock", release.lock),
        ("released", f"{release.released} by {', '.join(key[:8] for key in fetched.signed_by)}"),
        ("files", f"{len(release.files)}, {sum(file.size for file in release.files)} bytes, all verified"),
    ]
    if release.note:
        rows.append(("note", release.note))
    print(printable(pairs(rows)))
    return 0


VERB = Verb("print the release that is current in a channel, verified", add_arguments, run)
