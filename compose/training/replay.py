"""Replay of earlier risks: which preference pairs are kept, and how they are woven into a stage's batches.

Rows here are whatever the trainer is fed, preference pairs as a rule; nothing in this file looks inside them.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar, get_args

from compose.errors import Rejected

Item = TypeVar("Item")
Policy = Literal["reservoir", "balanced"]
MixMode = Literal["replay", "pad", "none"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
MIX_MODES: tuple[MixMode, ...] = get_args(MixMode)


class _Kept(NamedTuple, Generic[Item]):
    """One row of the buffer, with the random priority and the arrival number that decide who stays."""

    priority: float
    arrival: int
    risk: str
    item: Item


class ReplayBuffer(Generic[Item]):
    """A bounded memory of the rows of earlier risks, the same for the same seed and the same order of `add`.

    Two policies. `reservoir` is a uniform sample of the whole stream, so a risk with many pairs takes much
    room (algorithm R: Vitter 1985, "Random sampling with a reservoir"). `balanced` gives every risk the same
    room, within one row of each other, odd ones going to earlier risks; a risk with fewer rows than its
    share leaves the rest of it to the others. Within a risk, what is kept is a uniform sample of all its
    rows.

    Args:
        capacity: The most rows that are ever held, over all risks.
        policy: `reservoir` or `balanced`.
        seed: Fixes every choice.

    Raises:
        Rejected: `settings-invalid` for a capacity below one or an unknown policy.
    """

    def __init__(self, capacity: int, policy: Policy, seed: int) -> None:
        if capacity < 1:
            raise _invalid("replay.capacity", "a whole number above zero", str(capacity), "give the buffer room")
        if policy not in POLICIES:
            raise _invalid("replay.policy", " or ".join(POLICIES), repr(policy), "choose one of them")
        self.capacity = capacity
        self.policy = policy
        self._random = _generator("buffer", seed)
        self._seen: dict[str, int] = {}
        self._arrivals = 0
        self._kept: list[_Kept[Item]] = []

    def add(self, risk: str, items: Sequence[Item]) -> None:
        """Offer the rows of one risk to the buffer, in order; earlier rows may have to go."""
        if risk not in self._seen:
            self._seen[risk] = 0
        for item in items:
            self._arrivals += 1
            self._seen[risk] += 1
            row = _Kept(self._random.random(), self._arrivals, risk, item)
            if self.policy == "reservoir":
                self._offer(row)
            else:
                self._kept.append(row)
        if self.policy == "balanced":
            self._rebalance()

    def items(self) -> tuple[Item, ...]:
        """Return the rows that are held, grouped by risk in the order in which the risks came."""
        return tuple(item for rows in self.by_risk().values() for item in rows)

    def by_risk(self) -> dict[str, tuple[Item, ...]]:
        """Return the rows that are held of each risk, oldest first; a risk that lost every row has none."""
        ordered = sorted(self._kept, key=lambda row: row.arrival)
        return {risk: tuple(row.item for row in ordered if row.risk == risk) for risk in self._seen}

    def __len__(self) -> int:
        """Return how many rows are held."""
        return len(self._kept)

    def _offer(self, row: _Kept[Item]) -> None:
        """Take the n-th row of the stream with probability capacity / n, in a random other row's place."""
        if len(self._kept) < self.capacity:
            self._kept.append(row)
            return
        place = self._random.randrange(row.arrival)
        if place < self.capacity:
            self._kept[place] = row

    def _rebalance(self) -> None:
        """Keep of every risk the rows of lowest priority, as many as its share allows.

        Random priorities make every shrinking step exact: what is left is always a uniform sample of all rows
        seen.
        """
        held = {risk: [row for row in self._kept if row.risk == risk] for risk in self._seen}
        shares = fair_shares({risk: len(rows) for risk, rows in held.items()}, self.capacity)
        self._kept = [
            row
            for risk, rows in held.items()
            for row in heapq.nsmallest(shares[risk], rows, key=lambda row: (row.priority, row.arrival))
        ]


def fair_shares(available: dict[str, int], capacity: int) -> dict[str, int]:
    """Return how many rows each risk may keep: equal parts of `capacity`, none above what it has.

    Room that a small risk cannot use goes to the others in equal parts; single odd rows go to the earlier
    risks.
    """
    shares = dict.fromkeys(available, 0)
    left = capacity
    while left > 0:
        hungry = [risk for risk, count in available.items() if shares[risk] < count]
        if not hungry:
            break
        part = left // len(hungry)
        if part == 0:
            for risk in hungry[:left]:
                shares[risk] += 1
            break
        for risk in hungry:
            grant = min(part, available[risk] - shares[risk])
            shares[risk] += grant
            left -= grant
    return shares


def mix(
    current: Sequence[Item],
    buffer: ReplayBuffer[Item] | None,
    *,
    mode: MixMode,
    ratio: float,
    batch_size: int,
    n_total: int,
    seed: int,
) -> list[Item]:
    """Return the rows of a stage in the order of training: batch after batch, to be read without shuffling.

    In every mode the rows of the current risk come in the same order, and the modes differ in the rest only:

    - `replay`: `n_total` rows; of every `batch_size` rows exactly `round(ratio * batch_size)` are replayed.
    - `pad`: `n_total` rows; those places are filled with further rows of the current risk, fresh ones as long
      as there are any. So the effect of replay can be told from the effect of more rows.
    - `none`: the rows of the current risk alone. They are fewer than `n_total`.

    Rows of the current risk are drawn in seeded shuffles, each used once before any is used twice; so are
    replayed rows, in turn between the risks when the buffer is balanced. A last batch that is shorter has its
    own round(...).

    Args:
        current: Rows of the risk that the stage is about.
        buffer: Rows of the earlier risks; needed in mode `replay` only.
        mode: `replay`, `pad` or `none`.
        ratio: Share of a batch that is replayed, at least 0 and below 1.
        batch_size: Rows of one optimiser step.
        n_total: Rows of the stage in modes `replay` and `pad`.
        seed: Fixes both shuffles.

    Raises:
        Rejected: `settings-invalid` for numbers out of range, `pairs-empty` when there is no current row, and
            `replay-empty` when rows are to be replayed and the buffer holds none.
    """
    _check_mix(mode, ratio, batch_size, n_total)
    if not current:
        raise Rejected(
            "pairs-empty",
            subject="the stage's own pairs",
            expected="at least one pair of the current risk",
            got="none",
            fix="build pairs for this risk first, or loosen their filters",
        )
    fresh = _epochs(current, _generator("current", seed))
    layout = [places for size in _batches(n_total, batch_size) for places in _replay_places(size, ratio)]
    main = [next(fresh) for replayed in layout if not replayed]
    if mode == "none":
        return main
    extra = _replayed(buffer, seed) if mode == "replay" and any(layout) else fresh
    rest = iter(main)
    return [next(extra) if replayed else next(rest) for replayed in layout]


def _batches(n_total: int, batch_size: int) -> list[int]:
    """Return the sizes of the stage's batches; the last one may be short."""
    full, short = divmod(n_total, batch_size)
    return [batch_size] * full + [short] * (short > 0)


def _replay_places(size: int, ratio: float) -> list[bool]:
    """Return which rows of a batch are replayed: exactly round(ratio * size), spread evenly.

    Evenly, so that micro-batches and the shares of several processes see the mixture too.
    """
    count = round(ratio * size)
    return [(place + 1) * count // size > place * count // size for place in range(size)]


def _replayed(buffer: ReplayBuffer[Item] | None, seed: int) -> Iterator[Item]:
    """Return an endless stream of the buffer's rows.

    Raises:
        Rejected: `replay-empty` when there is no buffer or nothing in it.
    """
    if buffer is None or not len(buffer):
        raise Rejected(
            "replay-empty",
            subject="the replay buffer",
            expected="pairs of at least one earlier risk",
            got="an empty buffer",
            fix="replay from the second stage on; the first stage has nothing to remember (mode none or pad)",
        )
    if buffer.policy == "reservoir":
        return _epochs(buffer.items(), _generator("replay", seed))
    streams = [_epochs(rows, _generator(f"replay {risk}", seed)) for risk, rows in buffer.by_risk().items() if rows]
    return _in_turn(streams)


def _in_turn(streams: Sequence[Iterator[Item]]) -> Iterator[Item]:
    """Yield one row of every stream, again and again."""
    while True:
        for stream in streams:
            yield next(stream)


def _epochs(items: Sequence[Item], source: random.Random) -> Iterator[Item]:
    """Yield the rows in one shuffled order after another, for ever."""
    while True:
        yield from source.sample(items, len(items))


def _generator(stream: str, seed: int) -> random.Random:
    """Return a generator of its own for each purpose, so that one does not shift when another draws more."""
    digest = hashlib.sha256(f"compose replay {stream} {seed}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _check_mix(mode: MixMode, ratio: float, batch_size: int, n_total: int) -> None:
    """Refuse an unknown mode, and numbers that leave a batch without rows of its own."""
    if mode not in MIX_MODES:
        raise _invalid("replay.mode", ", ".join(MIX_MODES), repr(mode), "choose one of them")
    if batch_size < 1 or n_total < 1:
        raise _invalid(
            "rows of a stage",
            "batch_size and n_total above zero",
            f"batch_size {batch_size}, n_total {n_total}",
            "train for at least one step of at least one row",
        )
    size = min(batch_size, n_total)
    if not 0 <= ratio < 1 or round(ratio * size) >= size:
        raise _invalid(
            "replay.ratio",
            "0 <= ratio < 1, with at least one row of the current risk left in every batch",
            f"ratio {ratio} with batches of {size}",
            "lower the ratio or make the batches larger",
        )


def _invalid(subject: str, expected: str, got: str, fix: str) -> Rejected:
    """Return the error for a setting that is out of range."""
    return Rejected("settings-invalid", subject=subject, expected=expected, got=got, fix=fix)
