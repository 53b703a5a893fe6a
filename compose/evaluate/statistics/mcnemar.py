"""Two systems on the same prompts, each prompt safe or unsafe under either: McNemar's test and the difference.

Notation: of `n` prompts, `only_first` are unsafe under the first system alone and `only_second` under the second
alone; the others say nothing about which is worse. Where a prompt has several samples it counts as unsafe when any of
them is: samples of one prompt are not independent, and shares are compared by `bootstrap.paired_difference` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binom, norm

from compose.evaluate.statistics.rates import LEVEL


@dataclass(frozen=True)
class Discordance:
    """How two systems disagree on the same prompts.

    Attributes:
        only_first: Prompts that are unsafe under the first system alone.
        only_second: Prompts that are unsafe under the second system alone.
        n: All prompts.
    """

    only_first: int
    only_second: int
    n: int

    def __post_init__(self) -> None:
        if min(self.only_first, self.only_second) < 0 or self.only_first + self.only_second > self.n or self.n < 1:
            raise ValueError(f"expected counts that add up to at most n >= 1, got {self}")

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> Discordance:
        """Return the disagreement of two systems' verdicts, True for unsafe, on the same prompts in one order.

        Raises:
            ValueError: There are no verdicts, or not equally many.
        """
        pairs = list(zip(first, second, strict=True))
        return cls(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs), len(pairs))

    @property
    def difference(self) -> float:
        """The second system's rate minus the first's, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.n

    def exact_p(self) -> float:
        """Return the two-sided exact p-value: given how many prompts disagree, either side is a fair coin's.

        Twice the smaller tail of Binomial(only_first + only_second, 1/2), at most 1 (McNemar 1947; exact by the sign
        test). It is conservative: see `mid_p`.
        """
        disagreeing = self.only_first + self.only_second
        return min(1.0, 2 * float(binom.cdf(min(self.only_first, self.only_second), disagreeing, 0.5)))

    def mid_p(self) -> float:
        """Return the two-sided mid-p value: `exact_p` with half of the observed table's probability.

        Nearly never above its level and less conservative than the exact test (Fagerland, Lydersen and Laake 2013,
        BMC Medical Research Methodology 13:91, who advise it).
        """
        disagreeing = self.only_first + self.only_second
        if disagreeing == 0:
            return 1.0
        return self.exact_p() - float(binom.pmf(min(self.only_first, self.only_second), disagreeing, 0.5))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of `difference`, within -1 and 1 (Agresti and Min 2005, Statistics in Medicine 24).

        Wald's interval after half an observation is added to each of the four cells: with d the difference and s the
        sum of the two adjusted discordant shares, d -+ z sqrt((s - d^2) / (n + 2)).
        """
        size = self.n + 2
        first, second = (self.only_first + 0.5) / size, (self.only_second + 0.5) / size
        z = float(norm.ppf((1 + level) / 2))
        half = z * float(((first + second - (second - first) ** 2) / size) ** 0.5)
        return max(-1.0, second - first - half), min(1.0, second - first + half)
