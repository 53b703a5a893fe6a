"""Word lists, templates and benign requests that ship with the package, and how they are read."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from compose.digest import of_bytes


def read_bytes(name: str) -> bytes:
    """Return the content of a data file of this package."""
    return resources.files(__name__).joinpath(name).read_bytes()


def read_json(name: str) -> Any:
    """Return the content of a JSON data file of this package."""
    return json.loads(read_bytes(name))


def read_lines(name: str) -> tuple[str, ...]:
    """Return the non-empty lines of a text file of this package, stripped."""
    lines = (line.strip() for line in read_bytes(name).decode("utf-8").splitlines())
    return tuple(line for line in lines if line)


def digest(name: str) -> str:
    """Return the digest of a data file of this package, which versions whatever is made from it."""
    return of_bytes(read_bytes(name))
