"""Texts in batches, the longest first: a batch is of about one length, and the time left is not too hopeful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compose.progress import bar


def longest_first(lengths: Mapping[int, int], size: int, label: str, *, quiet_below: int) -> Iterator[list[int]]:
    """Yield the places of the texts of each batch, with a progress bar that moves on once a batch is done.

    Args:
        lengths: Place -> length, of the texts that are wanted.
        size: Texts in a batch.
        label: What the bar says.
        quiet_below: Fewer texts than this are not worth a bar.
    """
    order = sorted(lengths, key=lambda place: -lengths[place])
    with bar(len(order), label, "text", quiet=len(order) < quiet_below) as progress:
        for start in range(0, len(order), size):
            places = order[start : start + size]
            yield places
            progress.update(len(places))
