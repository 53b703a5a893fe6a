"""Time and memory of a variant: turns taken in alternation, medians, and the peak of a process of its own."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from compose.progress import bar

Turn = Callable[[], list[float]]
"""Runs a variant a few times and returns the seconds of each, the warm-up left out."""


def interleave(turns: Mapping[str, Turn], rounds: int, label: str) -> dict[str, list[list[float]]]:
    """Return, for every variant, the seconds of each of its turns, taken A B A B."""
    found = list(each_round(turns, rounds, label))
    return {name: [one[name] for one in found] for name in turns}


def each_round(turns: Mapping[str, Turn], rounds: int, label: str) -> Iterator[dict[str, list[float]]]:
    """Yield the seconds of every variant's turn, round by round, with progress."""
    with bar(rounds * len(turns), label, unit="turn") as progress:
        for _ in range(rounds):
            one = {}
            for name, turn in turns.items():
                one[name] = turn()
                progress.update(1)
            yield one


def median(rounds: list[list[float]]) -> float:
    """Return the median over all turns of a variant."""
    return statistics.median(seconds for turn in rounds for seconds in turn)


def ratio(slow: list[list[float]], fast: list[list[float]]) -> tuple[float, float, float]:
    """Return how many times longer `slow` takes: of the medians, and the lowest and highest of one round."""
    per_round = [statistics.median(a) / statistics.median(b) for a, b in zip(slow, fast, strict=True)]
    return median(slow) / median(fast), min(per_round), max(per_round)


def repeated(action: Callable[[], object], times: int, device: torch.device) -> Turn:
    """Return a turn of one warm-up call and `times` timed calls."""

    def turn() -> list[float]:
        seconds = []
        for _ in range(times + 1):
            start = now(device)
            action()
            seconds.append(now(device) - start)
        return seconds[1:]

    return turn


def now(device: torch.device) -> float:
    """Return the time in seconds, after everything that a GPU was told to do is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far, where the machine lets us."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def resident_bytes(device: torch.device, *, peak: bool) -> int:
    """Return the memory of this process, on the GPU when the work is done there.

    On Linux the peak is VmHWM: `ru_maxrss` of a child starts at its parent's, so small children look large.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        field = "VmHWM:" if peak else "VmRSS:"
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
