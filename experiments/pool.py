"""What do patches of one recipe and several seeds do to a suite? One line in place of one for each patch.

    compose evaluate --patch SEED0 --patch SEED1 --patch SEED2 --suite attaq
    python -m experiments.pool runs/evaluations/FOLDER --json experiments/results/single_attaq.json

All patches of the record are taken for seeds of one recipe; intervals are over seeds and prompts crossed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compose import durable
from compose.errors import Rejected, exit_status
from compose.evaluate.results import BASE
from compose.evaluate.risks import RISK_KINDS
from compose.evaluate.statistics.bootstrap import Estimate, interval, paired_difference, resample, table
from compose.evaluate.suites.numbers import Part, scored
from compose.evaluate.suites.record import EvaluationRecord, read_record, read_rows
from compose.evaluate.suites.rows import CompletionRow
from compose.report import words


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One part of a suite, by one judge, over all patches.

    Attributes:
        part: The part's title.
        metric: The headline metric, of which unsafety is made.
        judge: Who judged.
        seeds: How many patches.
        base: The base's mean unsafety on the shared prompts, with its interval.
        patched: That of the patches.
        difference: patched - base, paired by prompt.
    """

    part: str
    metric: str
    judge: str
    seeds: int
    base: Estimate
    patched: Estimate
    difference: Estimate


def pooled(folder: Path) -> tuple[EvaluationRecord, list[Pooled]]:
    """Return an evaluation's record and its parts over all its patches.

    Raises:
        Rejected: What reading a record refuses; `results-differ` when it has fewer than two patches.
    """
    record = read_record(folder)
    if len(record.patches) < 2:
        raise Rejected(
            "results-differ",
            subject=str(folder),
            expected="an evaluation of two patches or more, one for each seed",
            got=f"{len(record.patches)}",
            fix="name the patches of all seeds in one call of compose evaluate",
        )
    rows = read_rows(folder, record)
    names = [patch.name for patch in record.patches]
    return record, [one for part in record.parts for one in _part(part, rows.completions[part.name], names)]


def _part(part: Part, rows: Sequence[CompletionRow], names: Sequence[str]) -> Iterator[Pooled]:
    """Yield one part's numbers by each of its judges."""
    judges = [(part.judge, lambda row: row.score)]
    if part.second_judge is not None:
        judges.append((part.second_judge, lambda row: row.second))
    kind = RISK_KINDS[part.kind]
    for judge, score in judges:
        tables = {
            name: {
                key: kind.danger(scores, part.threshold)
                for key, scores in scored([row for row in rows if row.composition == name], score).items()
            }
            for name in (BASE, *names)
        }
        common = [key for key in tables[BASE] if all(key in one for one in tables.values())]
        if not common:
            continue
        member = {row.prompt_id: row.group for row in rows}
        groups = [member[key] for key in common] if part.by_group else None
        after = [[tables[name][key] for key in common] for name in names]
        before = [[tables[BASE][key] for key in common]] * len(names)
        yield Pooled(
            part=part.title,
            metric=kind.headline,
            judge=judge,
            seeds=len(names),
            base=_mean(before[:1], groups),
            patched=_mean(after, groups),
            difference=paired_difference(after, before, groups=groups),
        )


def _mean(values: Sequence[Sequence[float]], groups: Sequence[str] | None) -> Estimate:
    """Return the mean over seeds and prompts with its bootstrap interval."""
    array = table(values)
    low, high = interval(resample(*array.shape, groups=groups).means(array))
    return Estimate(float(array.mean()), low, high, array.shape[1])


def markdown(found: Sequence[Pooled]) -> str:
    """Return a line a part and judge."""
    lines = ["| part | judge | no patch | patched | difference | prompts |", "|---|---|---|---|---|---|"]
    for one in found:
        cells = [_shown(value) for value in (one.base, one.patched, one.difference)]
        lines.append(f"| {one.part}, {words.metric(one.metric)} | {one.judge} | {' | '.join(cells)} | {one.base.n} |")
    return "\n".join(lines)


def _shown(value: Estimate) -> str:
    between = words.between(value.low, value.high)
    return f"{words.number(value.value)} ({between})" if between else words.number(value.value)


def _json(record: EvaluationRecord, found: Sequence[Pooled]) -> Mapping[str, Any]:
    """Return what is worth committing."""
    return {
        "suite": record.suite,
        "suite_digest": record.suite_digest,
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
    parser.add_argument("record", type=Path, metavar="FOLDER", help="the folder of an evaluation of several patches")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    given = parser.parse_args(argv)
    return exit_status(lambda: _run(given.record, given.json))


if __name__ == "__main__":
    sys.exit(main())
