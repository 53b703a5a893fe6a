"""Versions and ranges: MAJOR.MINOR.PATCH, compared as numbers; a range is comparisons that all hold.

There are no pre-releases and no local versions, so that no version lies between two others unseen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from compose.errors import Rejected
from compose.records import NAME_PATTERN, RANGE_PATTERN, VERSION_PATTERN, Relation

ANY = "*"
_RELATION = re.compile(rf"({NAME_PATTERN})(?: ?({RANGE_PATTERN}))?")
_COMPARISON = re.compile(r"(==|>=|<=|>|<|\^)(.+)")


class Number(NamedTuple):
    """A version as numbers, so that 1.10.0 is more than 1.9.0."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        """Return the version as it is written."""
        return f"{self.major}.{self.minor}.{self.patch}"


def number(version: str) -> Number:
    """Return a version's numbers.

    Raises:
        Rejected: `version-invalid`, when it is not MAJOR.MINOR.PATCH.
    """
    if re.fullmatch(VERSION_PATTERN, version) is None:
        raise _invalid(version, "MAJOR.MINOR.PATCH and nothing else, as 1.0.0")
    return Number(*map(int, version.split(".")))


def admits(range_: str, version: str) -> bool:
    """Return whether a version lies in a range; "*" is every version.

    `^1.2.3` is >=1.2.3,<2.0.0; `^0.2.3` is >=0.2.3,<0.3.0 and `^0.0.3` only 0.0.3, since below 1.0.0 the first number
    that is not 0 counts as the major one (as in Cargo).

    Raises:
        Rejected: `version-invalid`, when one of them is malformed.
    """
    if re.fullmatch(RANGE_PATTERN, range_) is None:
        raise _invalid(range_, "* or comparisons such as >=1.2.0,<2.0.0 or ^1.2.0, without spaces")
    if range_ == ANY:
        number(version)
        return True
    return all(_holds(comparison, number(version)) for comparison in range_.split(","))


def relation(text: str) -> Relation:
    """Return the relation that a word of the command line means: "bias", "bias>=1.2.0,<2.0.0" or "bias ^1.2.0".

    Raises:
        Rejected: `version-invalid`.
    """
    match = _RELATION.fullmatch(text)
    if match is None:
        raise _invalid(text, "a patch's name, and a range when not every version is meant: bias>=1.2.0,<2.0.0")
    return Relation(name=match.group(1), range=match.group(2) or ANY)


def _holds(comparison: str, version: Number) -> bool:
    """Return whether a version fulfils one comparison."""
    match = _COMPARISON.fullmatch(comparison)
    assert match is not None  # RANGE_PATTERN has let it through
    sign, bound = match.group(1), number(match.group(2))
    if sign == "^":
        return bound <= version < _next_incompatible(bound)
    return {
        "==": version == bound,
        ">=": version >= bound,
        "<=": version <= bound,
        ">": version > bound,
        "<": version < bound,
    }[sign]


def _next_incompatible(bound: Number) -> Number:
    """Return the first version that a caret range leaves out."""
    if bound.major > 0:
        return Number(bound.major + 1, 0, 0)
    if bound.minor > 0:
        return Number(0, bound.minor + 1, 0)
    return Number(0, 0, bound.patch + 1)


def _invalid(subject: str, expected: str) -> Rejected:
    """Return the error about a version or range."""
    return Rejected(
        "version-invalid",
        subject=f"{subject[:60]!a}",
        expected=expected,
        got="another spelling",
        fix="write three numbers with dots, and ranges without spaces",
    )
