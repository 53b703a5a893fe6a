"""Slice: some consecutive rows of a patch, the inverse of concatenation."""

from __future__ import annotations

from compose.algebra.result import P, check_parts, composed, refuse


def slice(patch: P, start: int, stop: int) -> P:
    """Return rows `start` to `stop` (exclusive) of a patch, [stop - start, dim].

    Raises:
        Rejected: `composition-invalid`, unless 0 <= start < stop <= tokens.
    """
    check_parts("slice", [patch])
    if type(start) is not int or type(stop) is not int or not 0 <= start < stop <= patch.card.tokens:
        refuse(
            "slice",
            expected=f"0 <= start < stop <= {patch.card.tokens}, in whole rows",
            got=f"start {ascii(start)[:20]}, stop {ascii(stop)[:20]}",
            fix="count rows from 0; stop is the first row that is left out",
        )
    return composed("slice", patch.values[start:stop], [patch], params=[("start", start), ("stop", stop)])
