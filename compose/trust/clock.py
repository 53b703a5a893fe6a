"""Points in time as claims write them: UTC, to the second. The clock itself is always an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def instant(moment: datetime) -> str:
    """Return an aware datetime as claims write it, for instance `2026-11-25T21:35:03Z`; fractions are cut off.

    Raises:
        ValueError: The datetime has no time zone, so nobody knows which moment it is.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).strftime(_FORMAT)


def moment(written: str) -> datetime:
    """Return the aware datetime that an instant names.

    Raises:
        ValueError: It is not written as `instant` writes it, or names no day of the calendar.
    """
    if _SHAPE.fullmatch(written) is None:  # strptime alone takes one-digit months and other scripts' digits
        raise ValueError("must be a UTC time as 2026-11-25T21:35:03Z")
    return datetime.strptime(written, _FORMAT).replace(tzinfo=UTC)


def _checked(written: str) -> str:
    """Return an instant, refused when it names no moment."""
    moment(written)
    return written


Instant = Annotated[str, AfterValidator(_checked)]
"""A field of a claim that holds a point in time."""
