"""`compose show PATCH`: the card of a patch and who has signed it, as a table; or the card as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compose.cli.keys import add_keys
from compose.cli.text import pairs, printable
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.records import PatchCard

LONGEST_LIST = 4
"""A list that is longer is counted, not printed: the recorded logits of a self-test would fill the screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    parser.add_argument("patch", help="folder of the patch")
    parser.add_argument("--json", action="store_true", help="print the whole card as JSON")
    add_keys(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the card is printed.

    Raises:
        Rejected: What reading the patch refuses; `keyring-invalid`.
    """
    from compose.artifact import unpack
    from compose.parse import card_bytes
    from compose.patch_files import read_folder

    files = read_folder(arguments.patch)
    patch = unpack(files, subject=arguments.patch)
    card = json.loads(card_bytes(patch.card))
    if arguments.json:
        print(json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print(printable(pairs([*_rows(card), ("signed", _signed(patch.card, files, arguments.keys))])))
    return 0


def _signed(card: PatchCard, files: Mapping[str, bytes], keys: Path) -> str:
    """Return who has signed a patch, as far as the keyring knows them."""
    from compose import digest
    from compose.patch_files import CARD_FILE, SIGNATURE_FILE
    from compose.trust.authorship import authors_of
    from compose.trust.keyring import known_keys
    from compose.trust.store import Stored

    if SIGNATURE_FILE not in files or CARD_FILE not in files:
        return "by nobody"
    stored = Stored(card, digest.of_bytes(files[CARD_FILE]))
    try:
        found = authors_of(
            files[SIGNATURE_FILE], stored.locked, known_keys(keys), datetime.now(UTC), subject=SIGNATURE_FILE
        )
    except Rejected as error:
        if error.code == "keyring-invalid":
            raise
        return f"by nobody who counts here: {error.code}: {error.got}"
    return f"by {', '.join(f'{key.name} ({key.key_id[:8]})' for key in found)}"


def _rows(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value with its dotted name; what is not known is left out."""
    for key, value in values.items():
        name = f"{place}{key}"
        if isinstance(value, Mapping) and "direction" in value:
            yield name, _measured(value)
        elif isinstance(value, Mapping):
            yield from _rows(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, start=1):
                yield from _rows(item, f"{name}.{number}.")
        elif value not in (None, []):
            yield name, _shown(value)


def _measured(metric: Mapping[str, Any]) -> str:
    """Return a measured number on one line, with the direction that is better and the number of cases."""
    cases = "" if metric["n"] is None else f", n {metric['n']}"
    return f"{metric['value']:.4g} ({metric['direction']} is better{cases})"


def _shown(value: object) -> str:
    """Return one value as text."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) if len(value) <= LONGEST_LIST else f"[{len(value)} values]"
    return str(value)


VERB = Verb("print the card of a patch, and who has signed it", add_arguments, run)
