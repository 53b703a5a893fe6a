"""`compose show PATCH`: the card of a patch, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from compose.cli.text import pairs, printable
from compose.cli.verb import Verb

LONGEST_LIST = 4
"""A list that is longer is counted, not printed: the recorded logits of a self-test would fill the screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    parser.add_argument("patch", help="folder of the patch")
    parser.add_argument("--json", action="store_true", help="print the whole card as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the card is printed."""
    from compose.artifact import load
    from compose.parse import card_bytes

    card = json.loads(card_bytes(load(arguments.patch).card))
    if arguments.json:
        print(json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print(printable(pairs(_rows(card))))
    return 0


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


VERB = Verb("print the card of a patch", add_arguments, run)
