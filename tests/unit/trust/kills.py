"""Stands for kill -9 while the channel or the store is written: at any write, or at that of one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose import durable


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@contextmanager
def killed_when(fatal: Callable[[int, Path], bool]) -> Iterator[None]:
    """Kill before a write within the block: `fatal` is told how many came before it, and its path."""
    write, done = durable.write_bytes, 0

    def limited(path: Path, data: bytes, *, private: bool = False) -> None:
        nonlocal done
        if fatal(done, path):
            raise Killed
        done += 1
        write(path, data, private=private)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(durable, "write_bytes", limited)
        yield


def kills_at_every_write(act: Callable[[], object]) -> Iterator[int]:
    """Try an act again and again, killed one write later each time, until it is through; yield after every kill.

    Yields:
        How many kills there were so far.
    """
    kills = 0
    while True:
        try:
            with killed_when(_behind(kills)):
                act()
            return
        except Killed:
            kills += 1
        yield kills


def _behind(allowed: int) -> Callable[[int, Path], bool]:
    """Return what kills once so many writes are done."""
    return lambda done, _: done == allowed


def at_the_timestamp(_: int, path: Path) -> bool:
    """Return whether a channel's timestamp is being written, which is last."""
    return path.name == "timestamp.json"
