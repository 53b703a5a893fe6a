"""One-sided confidence bounds of what a gate limits, and how many more units would settle a claim.

Notation: one number a unit (a prompt, or a group of prompts that depend on each other). All bounds are one-sided at
confidence `level`: the chance that the true value lies above `upper` is at most 1 - level, and likewise below `lower`.
A composition must pass every gate, so no gate needs a correction for the others: an unsafe one passes only when the
bound of the very gate that it violates is wrong (an intersection-union test: Berger 1982, Technometrics 24).

numpy and scipy are imported when something is bounded, so that checks without evidence do not wait for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

MAX_UNITS = 100_000
"""No advice asks for more units than this."""
Side = Literal["below", "above"]


@dataclass(frozen=True)
class Bound:
    """What is known of a true value.

    Attributes:
        estimate: The value on the units that were seen.
        lower: The true value is not below this.
        upper: The true value is not above this.
        units: How many units were seen.
    """

    estimate: float
    lower: float
    upper: float
    units: int


class Claim(Protocol):
    """A measured quantity that can be bounded."""

    def bound(self, level: float) -> Bound:
        """Return its bounds at a level of confidence."""
        ...

    def units_to_settle(self, limit: float, level: float, side: Side) -> int | None:
        """Return how many units settle that it is below (above) the limit if more of them are like those seen.

        None when `MAX_UNITS` of them do not, for instance because the estimate lies on the other side.
        """
        ...


@dataclass(frozen=True)
class Rate:
    """A share of units, each of which is a yes or a no by design, counted on a fixed number of them.

    The bounds are exact: Clopper and Pearson 1934, Biometrika 26.
    """

    successes: int
    trials: int

    def bound(self, level: float) -> Bound:
        """Return the exact bounds."""
        from compose.evaluate.statistics.rates import lower_bound, upper_bound

        return Bound(
            self.successes / self.trials,
            lower_bound(self.successes, self.trials, level),
            upper_bound(self.successes, self.trials, level),
            self.trials,
        )

    def units_to_settle(self, limit: float, level: float, side: Side) -> int | None:
        """Return the smallest number of units, with the same share of successes, whose bound clears the limit."""

        def settled(units: int) -> bool:
            share = self.successes * units / self.trials
            # Rounded against the claim: no share of a whole number of units is as good as the one that was seen.
            found = Rate(math.ceil(share) if side == "below" else math.floor(share), units).bound(level)
            return found.upper <= limit if side == "below" else found.lower > limit

        return _smallest(settled, self.trials)


@dataclass(frozen=True)
class Mean:
    """The mean of one number a unit, each between `lowest` and `highest`.

    The bounds hold at any time, so one may look after every unit and stop when one likes: Waudby-Smith and Ramdas
    2024, see `compose.evaluate.statistics.betting`.

    Attributes:
        values: The numbers, in an order that does not depend on them.
        lowest: No value can be smaller.
        highest: No value can be larger.
    """

    values: Sequence[float]
    lowest: float = 0.0
    highest: float = 1.0

    def bound(self, level: float) -> Bound:
        """Return the bounds by betting."""
        from compose.evaluate.statistics.sequences import lower_bound, upper_bound

        scaled = self._scaled()
        width = self.highest - self.lowest
        return Bound(
            math.fsum(self.values) / len(self.values),
            self.lowest + width * lower_bound(scaled, level),
            self.lowest + width * upper_bound(scaled, level),
            len(self.values),
        )

    def units_to_settle(self, limit: float, level: float, side: Side) -> int | None:
        """Return after how many units the bet is won if those seen come again and again in their order."""
        import numpy as np

        from compose.evaluate.statistics.betting import log_capital

        scaled = self._scaled()
        mean = (limit - self.lowest) / (self.highest - self.lowest)
        if not 0 <= mean <= 1:
            return None
        again = np.tile(scaled, math.ceil(MAX_UNITS / len(scaled)))[:MAX_UNITS]
        capital = log_capital(again, mean, 1 - level, "smaller" if side == "below" else "larger")
        won = np.flatnonzero(capital >= math.log(1 / (1 - level)))
        return int(won[0]) + 1 if won.size else None

    def _scaled(self) -> Float[np.ndarray, " units"]:
        """Return the values moved to [0, 1].

        Raises:
            ValueError: One lies outside its range or is NaN.
        """
        import numpy as np

        raw = np.asarray(self.values, dtype=np.float64)
        if not ((raw >= self.lowest) & (raw <= self.highest)).all():
            raise ValueError(f"expected values within {self.lowest:g} and {self.highest:g}")
        # A division may end a rounding error outside.
        return np.clip((raw - self.lowest) / (self.highest - self.lowest), 0.0, 1.0)


@dataclass(frozen=True)
class Grouped:
    """The mean of one number a prompt, where prompts of one group (of one profession) depend on each other.

    Whole groups are the units: Student's t over their means, which is exact for normal means and a good approximation
    for means of a dozen prompts and more. It is never narrower than the bound by betting over single prompts: where all
    groups agree, t has nothing to go by. Distribution-free bounds over a dozen groups would prove nothing at all.

    Attributes:
        groups: The numbers of each group.
        lowest: No value can be smaller.
        highest: No value can be larger.
    """

    groups: Sequence[Sequence[float]]
    lowest: float = 0.0
    highest: float = 1.0

    def bound(self, level: float) -> Bound:
        """Return the wider of both bounds on either side."""
        single = self._prompts().bound(level)
        means = self._means()
        half = self._half(level, len(means))
        centre = math.fsum(means) / len(means)
        return Bound(
            centre,
            max(self.lowest, min(single.lower, centre - half)),
            min(self.highest, max(single.upper, centre + half)),
            len(means),
        )

    def units_to_settle(self, limit: float, level: float, side: Side) -> int | None:
        """Return how many groups like those seen settle it by both bounds."""
        means = self._means()
        prompts = self._prompts().units_to_settle(limit, level, side)
        centre = math.fsum(means) / len(means)

        def settled(units: int) -> bool:
            half = self._half(level, units)
            return centre + half <= limit if side == "below" else centre - half > limit

        groups = _smallest(settled, len(means)) if len(means) > 1 else None
        if prompts is None or groups is None:
            return None
        return max(groups, math.ceil(prompts * len(means) / sum(map(len, self.groups))))

    def _prompts(self) -> Mean:
        return Mean([value for group in self.groups for value in group], self.lowest, self.highest)

    def _means(self) -> list[float]:
        return [math.fsum(group) / len(group) for group in self.groups]

    def _half(self, level: float, units: int) -> float:
        """Return half the width of Student's interval at so many groups; one group says nothing of others."""
        means = self._means()
        if len(means) < 2:
            return self.highest - self.lowest
        centre = math.fsum(means) / len(means)
        variance = math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1)
        return _student(level, units - 1) * math.sqrt(variance / units)


@dataclass(frozen=True)
class Ratio:
    """exp(sum of extras / sum of weights) over units: a perplexity over another one on the same passages.

    `extras` are differences of negative log-likelihoods (nats), `weights` the numbers of tokens. The bounds are
    Fieller's (1954, JRSS B 16): log r is not ruled out while Student's t of extra - log(r) * weight over units is not
    significant. Log-likelihoods have no largest value, so this is exact for normal means only; with 60 passages and
    more it is a good approximation.
    """

    extras: Sequence[float]
    weights: Sequence[float]

    def bound(self, level: float) -> Bound:
        """Return Fieller's bounds; they are infinite and 0 when a single unit was seen."""
        n = len(self.extras)
        estimate = math.exp(math.fsum(self.extras) / math.fsum(self.weights))
        if n < 2:
            return Bound(estimate, 0.0, math.inf, n)
        low, high = self._roots(_student(level, n - 1) / math.sqrt(n))
        return Bound(estimate, math.exp(low), math.exp(high), n)

    def units_to_settle(self, limit: float, level: float, side: Side) -> int | None:
        """Return the smallest number of units with the same means and variances whose bound clears the limit."""

        def settled(units: int) -> bool:
            low, high = self._roots(_student(level, units - 1) / math.sqrt(units))
            return math.exp(high) <= limit if side == "below" else math.exp(low) > limit

        return _smallest(settled, len(self.extras)) if len(self.extras) > 1 and limit > 0 else None

    def _roots(self, quantile: float) -> tuple[float, float]:
        """Return the ends of the log ratios that are not ruled out; infinite where nothing is.

        They solve (mean extra - x mean weight)^2 = quantile^2 var(extra - x weight), a quadratic in x.
        """
        n = len(self.extras)
        extra, weight = math.fsum(self.extras) / n, math.fsum(self.weights) / n
        pairs = [(e - extra, w - weight) for e, w in zip(self.extras, self.weights, strict=True)]
        extras = math.fsum(e * e for e, _ in pairs) / (n - 1)
        weights = math.fsum(w * w for _, w in pairs) / (n - 1)
        both = math.fsum(e * w for e, w in pairs) / (n - 1)
        square = quantile * quantile
        a, b, c = weight * weight - square * weights, extra * weight - square * both, extra * extra - square * extras
        if a <= 0:  # the mean weight itself is not known to be positive
            return -math.inf, math.inf
        root = math.sqrt(max(0.0, b * b - a * c))
        return (b - root) / a, (b + root) / a


def _student(level: float, freedom: int) -> float:
    """Return the one-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))


def _smallest(settled: Callable[[int], bool], seen: int) -> int | None:
    """Return the smallest number of units, from those seen upwards, that settles a claim; None beyond `MAX_UNITS`.

    Whether a claim is settled is taken to be monotone in the number of units, which rounding may break by a few.
    """
    largest = seen
    while not settled(largest):
        if largest >= MAX_UNITS:
            return None
        largest = min(2 * largest, MAX_UNITS)
    smallest = max(seen, largest // 2)
    while smallest < largest:
        middle = (smallest + largest) // 2
        smallest, largest = (smallest, middle) if settled(middle) else (middle + 1, largest)
    return largest
