"""Progress with the time left: a bar on a terminal, a plain line every few seconds anywhere else."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

Bar: TypeAlias = "tqdm[Any]"

CURSOR_UP = "\x1b[A"
"""What tqdm writes between nested bars; a log has no cursor."""
PLAIN_INTERVAL_S = 10.0
"""In a log file a redrawn bar is noise: one line in ten seconds is enough to see that work goes on."""


class PlainLines:
    """A stream that writes a redrawn bar as lines of its own, each only once."""

    def __init__(self) -> None:
        self.last = ""

    def write(self, text: str) -> int:
        """Return the length of `text`, written to stderr as a line when it says something new."""
        line = text.replace(CURSOR_UP, "").strip("\r\n ")
        if line and line != self.last:
            self.last = line
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Flush stderr."""
        sys.stderr.flush()


def bar(total: float | None, label: str, unit: str = "it", *, quiet: bool = False) -> Bar:
    """Return a progress bar on stderr with the time left; use it in a `with` block and call `update(n)`.

    Args:
        total: How many units there will be, None when nobody knows.
        label: What is being done, in one or two words.
        unit: What is counted; `"B"` is scaled to kB and MB.
        quiet: Show nothing, for work that is too short to be worth a line.
    """
    scale = unit == "B"
    if quiet:
        return tqdm(total=total, disable=True)
    if sys.stderr.isatty():
        return tqdm(total=total, desc=label, unit=unit, unit_scale=scale, file=sys.stderr, dynamic_ncols=True)
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        unit_scale=scale,
        file=PlainLines(),
        ascii=True,
        ncols=100,
        mininterval=PLAIN_INTERVAL_S,
        maxinterval=PLAIN_INTERVAL_S,
        bar_format="{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} elapsed, {remaining} left, {rate_fmt}",
    )
