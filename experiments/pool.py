"""What do patches of one recipe and several seeds do to a suite, under attack, or to a benchmark? One line for all.

    compose evaluate --patch SEED0 --patch SEED1 --patch SEED2 --suite attaq
    python -m experiments.pool runs/evaluations/FOLDER --json experiments/results/single_attaq.json

    compose attack --patch SEED0 --patch SEED1 --patch SEED2 --attack gcg --budget 200
    python -m experiments.pool runs/attacks/FOLDER --json experiments/results/single_gcg.json

    compose benchmark --patch SEED0 --patch SEED1 --patch SEED2 --task mmlu_continuation --limit 10
    python -m experiments.pool runs/benchmarks/FOLDER --json experiments/results/single_mmlu.json

All patches of the record are taken for seeds of one recipe; intervals are over seeds and prompts crossed, and of counts
of prompts (Wilson's, and Agresti and Min's of a difference) where all are alike. An arrow says which way is better: of
safe requests what is counted is refusals, of unsafe ones what is not refused. Under attack a line a share of the budget
says how many requests had succeeded by then. Of a benchmark of several tasks it is all their questions together.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compose import durable
from compose.errors import Rejected, exit_status
from compose.evaluate.attacks import record as attacks
from compose.evaluate.attacks.rates import DIRECT, readings, verdicts
from compose.evaluate.benchmark import record as benchmarks
from compose.evaluate.metrics import Direction
from compose.evaluate.results import BASE
from compose.evaluate.risks import RISK_KINDS
from compose.evaluate.statistics.bootstrap import (
    Estimate,
    Groups,
    interval,
    on_shared,
    paired_difference,
    resample,
    table,
)
from compose.evaluate.statistics.mcnemar import Discordance
from compose.evaluate.statistics.rates import wilson
from compose.evaluate.suites import numbers
from compose.evaluate.suites import record as suites
from compose.report import words

BUDGET_PARTS = (8, 4, 2, 1)
"""Under attack, successes are counted within the budget divided by each of these."""
Record = suites.EvaluationRecord | attacks.AttackRecord | benchmarks.BenchmarkRecord


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One part of a suite, one attack or one benchmark, by one judge, over all patches.

    Attributes:
        part: The part's title, the attack's name, or the benchmark's task.
        metric: The headline metric.
        judge: Who judged; empty where answers are right or wrong.
        seeds: How many patches.
        base: The base's mean on the shared prompts, with its interval.
        patched: That of the patches.
        difference: patched - base, paired by prompt.
        queries: Under attack, the queries within which a request had to succeed; None elsewhere.
        direction: Which way is better.
    """

    part: str
    metric: str
    judge: str
    seeds: int
    base: Estimate
    patched: Estimate
    difference: Estimate
    queries: int | None = None
    direction: Direction = "lower"


def pooled(folder: Path) -> tuple[Record, list[Pooled]]:
    """Return the record of an evaluation, of attacks or of a benchmark, and its lines over all its patches.

    Raises:
        Rejected: What reading a record refuses; `results-differ` when it has fewer than two patches.
    """
    record: Record = _reader(folder)(folder)
    if len(record.patches) < 2:
        raise Rejected(
            "results-differ",
            subject=str(folder),
            expected="patches of two seeds or more",
            got=f"{len(record.patches)}",
            fix="name the patches of all seeds in one call of compose evaluate, attack or benchmark",
        )
    if isinstance(record, attacks.AttackRecord):
        return record, list(_attacked(folder, record))
    if isinstance(record, benchmarks.BenchmarkRecord):
        return record, list(_benchmarked(folder, record))
    return record, list(_evaluated(folder, record))


def _reader(folder: Path) -> Callable[[Path], Record]:
    """Return what reads the record that a folder holds."""
    if (folder / attacks.RECORD_FILE).is_file():
        return attacks.read_record
    return benchmarks.read_record if (folder / benchmarks.RECORD_FILE).is_file() else suites.read_record


def _evaluated(folder: Path, record: suites.EvaluationRecord) -> Iterator[Pooled]:
    """Yield the numbers of each part by each of its judges."""
    completions = suites.read_rows(folder, record).completions
    for part in record.parts:
        rows = completions[part.name]
        member = {row.prompt_id: row.group for row in rows} if part.by_group else None
        for judge, score in numbers.readings(part):
            tables = [
                numbers.dangers(part, numbers.scored([row for row in rows if row.composition == name], score))
                for name in _names(record)
            ]
            metric = RISK_KINDS[part.kind].headline
            yield from _over_seeds(tables, member, part=part.title, metric=metric, judge=judge)


def _attacked(folder: Path, record: attacks.AttackRecord) -> Iterator[Pooled]:
    """Yield the success rates by each judge: of the bare request, which is the first query, and within ever more.

    The second judge reads only the reply that an attack ended with, so it has a rate within the whole budget alone.
    """
    rows = attacks.read_rows(folder, record)
    shares = sorted({record.budget // part for part in BUDGET_PARTS} - {0, 1}) or [record.budget]
    for metric, judge, score in readings(record.judge, record.second_judge):
        direct = metric == DIRECT
        for queries in [1] if direct else shares if judge == record.judge else shares[-1:]:
            within = None if direct else queries
            found = [verdicts(rows, name, score, record.threshold, within) for name in _names(record)]
            tables = [{key: float(won) for key, won in one.items()} for one in found]
            yield from _over_seeds(tables, None, part=record.attack, metric=metric, judge=judge, queries=queries)


def _benchmarked(folder: Path, record: benchmarks.BenchmarkRecord) -> Iterator[Pooled]:
    """Yield each metric over the questions of all tasks; a task's own where there is only one."""
    by_task = benchmarks.values_of(record.asked, benchmarks.read_rows(folder, record))
    found = {(" ".join(record.settings.tasks), *key): values for key, values in benchmarks.together(by_task).items()}
    for (part, metric, way), values in (found or by_task).items():
        tables = [{f"{task} {n}": value for (task, n), value in values[name].items()} for name in _names(record)]
        yield from _over_seeds(tables, None, part=part, metric=metric, judge="", direction=way)


def _names(record: Record) -> list[str]:
    return [BASE, *(patch.name for patch in record.patches)]


def _over_seeds(
    tables: Sequence[Mapping[str, float]],
    member: Mapping[str, str] | None,
    *,
    part: str,
    metric: str,
    judge: str,
    queries: int | None = None,
    direction: Direction = "lower",
) -> Iterator[Pooled]:
    """Yield the line of a base and its patches; none when they share no prompt.

    Args:
        tables: Unsafety by prompt, the base's first.
        member: The group of each prompt, where prompts of one group depend on each other.
        part: As in `Pooled`, and so the others.
        metric: The metric.
        judge: Who judged.
        queries: Under attack, the most queries.
        direction: Which way is better.
    """
    common, (before, *after) = on_shared(tables)
    if not common:
        return
    groups = None if member is None else [member[key] for key in common]
    yield Pooled(
        part=part,
        metric=metric,
        judge=judge,
        queries=queries,
        direction=direction,
        seeds=len(after),
        base=_mean([before], groups),
        patched=_mean(after, groups),
        difference=_difference(after, before, groups),
    )


def _mean(values: Sequence[Sequence[float]], groups: Groups) -> Estimate:
    """Return the mean over seeds and prompts with its bootstrap interval; with Wilson's where all are alike."""
    array = table(values)
    mean = min(1.0, float(array.mean()))
    low, high = interval(resample(*array.shape, groups=groups).means(array))
    if float(array.min()) == float(array.max()):  # a bootstrap has nothing to draw from
        low, high = wilson(mean, array.shape[1])
    return Estimate(mean, low, high, array.shape[1])


def _difference(after: Sequence[Sequence[float]], before: Sequence[float], groups: Groups) -> Estimate:
    """Return the mean of after - before, paired by prompt; the same everywhere, it has the interval of counts."""
    found = paired_difference(after, [before] * len(after), groups=groups)
    if found.value is None or found.low is None or found.high is None:
        return found
    same = round(found.value)  # a mean of ones may be a hair off one
    if not all(math.isclose(end, same, abs_tol=1e-9) for end in (found.value, found.low, found.high)):
        return found
    low, high = Discordance(only_first=found.n * (same < 0), only_second=found.n * (same > 0), n=found.n).interval()
    return Estimate(float(same), low, high, found.n)


def markdown(found: Sequence[Pooled]) -> str:
    """Return a line a part and judge."""
    lines = ["| part | judge | no patch | patched | difference | prompts |", "|---|---|---|---|---|---|"]
    for one in found:
        cells = [_shown(value) for value in (one.base, one.patched, one.difference)]
        name = f"{one.part}, {words.metric(one.metric, one.judge)} {words.BETTER[one.direction]}"
        if one.queries is not None:
            name += f", {one.queries} {'query' if one.queries == 1 else 'queries'}"
        lines.append(f"| {name} | {one.judge} | {' | '.join(cells)} | {one.base.n} |")
    return "\n".join(lines)


def _shown(value: Estimate) -> str:
    between = words.between(value.low, value.high)
    return f"{words.number(value.value)} ({between})" if between else words.number(value.value)


def _json(record: Record, found: Sequence[Pooled]) -> Mapping[str, Any]:
    """Return what is worth committing."""
    about: dict[str, Any]
    if isinstance(record, attacks.AttackRecord):
        about = {key: getattr(record, key) for key in ("attack", "method", "method_version", "budget", "requests")}
        about |= {"seed": record.settings["seed"], "counts": [asdict(one) for one in record.counts]}
    elif isinstance(record, benchmarks.BenchmarkRecord):
        about = {"settings": asdict(record.settings), "asked": [asdict(one) for one in record.asked]}
    else:
        about = {"suite": record.suite, "suite_digest": record.suite_digest}
    return about | {
        "base": record.base,
        "fingerprint": record.fingerprint,
        "patches": [patch.prefix for patch in record.patches],
        "pooled": [asdict(one) for one in found],
        "warnings": record.warnings,
        "command": record.command,
        "commit": record.commit,
        "dirty": record.dirty,
        "machine": record.machine,
        "versions": record.versions,
    }


def _run(folder: Path, json: Path | None) -> None:
    record, found = pooled(folder)
    print(markdown(found))
    if json is not None:
        durable.write_json(json, _json(record, found))
        print(f"numbers: {json}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for a record that cannot be pooled."""
    parser = argparse.ArgumentParser(prog="python -m experiments.pool", description=__doc__.split("\n")[0])
    parser.add_argument("record", type=Path, metavar="FOLDER", help="the folder of compose evaluate, or compose attack")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    given = parser.parse_args(argv)
    return exit_status(lambda: _run(given.record, given.json))


if __name__ == "__main__":
    sys.exit(main())
