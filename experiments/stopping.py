"""May an evaluation stop as soon as a claim is settled? Coverage under looking after every prompt, and what is saved.

    python -m experiments.stopping --json experiments/results/stopping.json      (under a minute on one core)

Simulated prompts have an unsafe share each: all or nothing (one sample a prompt), or of five samples from a prompt's
own rate, drawn from a beta distribution, because prompts differ. Nothing here needs a model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from compose import durable
from compose.errors import exit_status
from compose.evaluate.statistics.betting import Direction, log_capital
from compose.evaluate.statistics.rates import LEVEL, clopper_pearson

RATES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
LIMIT = 0.1
"""The claim whose settling is timed: the unsafe rate is below this."""
PROMPTS = 500
RUNS = 2000
SAMPLES = 5
PROMPTS_ALIKE = 2.0
"""a + b of the beta distribution of prompts' own rates: 2 spreads them widely."""
FIRST_LOOK = 10
"""Naive peeking starts here: nobody reads an interval of three prompts."""

DIRECTIONS: tuple[Direction, ...] = ("smaller", "larger")

Values = Float[np.ndarray, "runs prompts"]


@dataclass(frozen=True)
class Coverage:
    """How often an interval that is looked at after every prompt never lost the true rate.

    Attributes:
        values: What a prompt's value is.
        rate: The true rate.
        sequence: Share of runs in which the confidence sequence always held it.
        peeking: Share of runs in which Wilson's interval, read after every prompt, always held it; None where a
            prompt's value is no yes or no.
        low: Lower end of the exact 95% interval of `sequence`.
    """

    values: str
    rate: float
    sequence: float
    peeking: float | None
    low: float


@dataclass(frozen=True)
class Saving:
    """What stopping early saves against asking all prompts, for the claim "below the limit".

    Attributes:
        values: What a prompt's value is.
        rate: The true rate.
        settled: Share of runs that were settled within all prompts.
        wrong: Share of runs that settled on the wrong side.
        prompts: Prompts used on average, runs that stayed open counted in full.
        saved: 1 - prompts / all prompts.
        fixed: Share of runs in which one exact one-sided test after all prompts settles the claim; None likewise.
    """

    values: str
    rate: float
    settled: float
    wrong: float
    prompts: float
    saved: float
    fixed: float | None


def draw(kind: str, rate: float, rng: np.random.Generator, runs: int = RUNS, prompts: int = PROMPTS) -> Values:
    """Return simulated values, one a prompt, with this mean."""
    if kind == "one sample":
        single: Values = (rng.random((runs, prompts)) < rate).astype(np.float64)
        return single
    own = rng.beta(rate * PROMPTS_ALIKE, (1 - rate) * PROMPTS_ALIKE, (runs, prompts))
    share: Values = rng.binomial(SAMPLES, own) / SAMPLES
    return share


def coverage(kind: str, rate: float, values: Values) -> Coverage:
    """Return how often both kinds of interval never lost the rate."""
    alpha = 1 - LEVEL
    lost = np.zeros(len(values), dtype=bool)
    for direction in DIRECTIONS:
        capital = log_capital(values, rate, alpha / 2, direction)
        lost |= (capital >= np.log(2 / alpha)).any(axis=-1)
    kept = int((~lost).sum())
    peeking = None if kind != "one sample" else float(_never_lost_by_wilson(rate, values).mean())
    return Coverage(kind, rate, kept / len(values), peeking, clopper_pearson(kept, len(values))[0])


def _never_lost_by_wilson(rate: float, values: Values) -> Any:
    """Return by run whether Wilson's interval held the rate at every look.

    Its score test at the rate is what the interval inverts: |x - n p| <= z sqrt(n p (1 - p)).
    """
    counts = np.arange(1, values.shape[1] + 1)
    z = float(norm.ppf((1 + LEVEL) / 2))
    distance = np.abs(np.cumsum(values, axis=1) - counts * rate)
    inside = distance <= z * np.sqrt(counts * rate * (1 - rate))
    return inside[:, FIRST_LOOK - 1 :].all(axis=1)


def saving(kind: str, rate: float, values: Values) -> Saving:
    """Return what stopping saves when the claim is looked at after every prompt, at 95% one-sided."""
    alpha, total = 1 - LEVEL, values.shape[1]
    below, above = (
        _first(log_capital(values, LIMIT, alpha, direction) >= np.log(1 / alpha)) for direction in DIRECTIONS
    )
    stop = np.minimum(below, above)
    wrong = above < below if rate < LIMIT else below < above
    used = float(np.minimum(stop, total).mean())
    fixed = None
    if kind == "one sample":
        hits = values.sum(axis=1).astype(int)
        cleared = {hit: _settles(hit, total) for hit in set(hits.tolist())}
        fixed = float(np.mean([cleared[hit] for hit in hits.tolist()]))
    return Saving(kind, rate, float((stop <= total).mean()), float(wrong.mean()), used, 1 - used / total, fixed)


def _first(reached: Any) -> Any:
    """Return by run the prompt at which something first held, counted from 1; one more than all when it never did."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)


def _settles(hits: int, total: int) -> bool:
    """Return whether one exact test after all prompts puts the rate on one side of the limit, at 95% one-sided."""
    low, high = clopper_pearson(hits, total, level=2 * LEVEL - 1)
    return high < LIMIT or low > LIMIT


def study(runs: int = RUNS, prompts: int = PROMPTS, seed: int = 0) -> dict[str, Any]:
    """Return the whole study as JSON values."""
    covered, saved = [], []
    for place, kind in enumerate(("one sample", f"{SAMPLES} samples")):
        for rate in RATES:
            values = draw(kind, rate, np.random.default_rng([seed, place, round(1000 * rate)]), runs, prompts)
            covered.append(asdict(coverage(kind, rate, values)))
            if rate != LIMIT:
                saved.append(asdict(saving(kind, rate, values)))
    about = {"runs": runs, "prompts": prompts, "seed": seed, "level": LEVEL, "limit": LIMIT}
    return about | {"coverage": covered, "saving": saved}


def table(found: dict[str, Any]) -> str:
    """Return both tables as Markdown."""
    lines = ["| a prompt's value | true rate | sequence covers | Wilson, peeking |", "|---|---|---|---|"]
    for one in found["coverage"]:
        lines.append(f"| {one['values']} | {one['rate']} | {one['sequence']:.3f} | {_shown(one['peeking'])} |")
    lines += ["", f"| a prompt's value | true rate (limit {found['limit']}) | settled | wrong | prompts used | saved "]
    lines[-1] += "| one test at the end settles |"
    lines.append("|---|---|---|---|---|---|---|")
    for one in found["saving"]:
        cells = [one["values"], one["rate"], f"{one['settled']:.3f}", f"{one['wrong']:.4f}", f"{one['prompts']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {one['saved']:.0%} | {_shown(one['fixed'])} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _run(json: Path | None, runs: int, seed: int) -> None:
    found = study(runs, seed=seed)
    print(table(found))
    if json is not None:
        durable.write_json(json, found)
        print(f"numbers: {json}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.stopping", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of every rate (default: {RUNS})")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default: 0)")
    given = parser.parse_args(argv)
    return exit_status(lambda: _run(given.json, given.runs, given.seed))


if __name__ == "__main__":
    sys.exit(main())
