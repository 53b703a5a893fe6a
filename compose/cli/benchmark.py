"""`compose benchmark --patch P --task T`: a patch beside the unpatched base on the questions of lm-eval's tasks.

`compose benchmark --recheck FOLDER` makes every number of a record again from its stored rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compose.cli.measured import add_measured, base_spec
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `benchmark`."""
    add_measured(parser)
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="task or group of lm-eval; may be repeated"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions of each task")
    parser.add_argument("--shots", type=int, metavar="N", help="examples in front of a question (default: the task's)")
    parser.add_argument("--chat", action="store_true", help="ask through the base's chat template")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="MMLU as CSV files (default: $COMPOSE_DATA/mmlu, else the HF hub)"
    )
    parser.add_argument("--tasks-path", metavar="DIR", help="task files of yours; they may hold code, which is run")
    parser.add_argument("--seed", type=int, default=0, help="of what tasks draw (default: 0)")
    parser.add_argument("--recheck", type=Path, metavar="DIR", help="make a record's numbers again from its rows")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the table and the folder of the record are printed.

    Raises:
        Rejected: `settings-invalid` when neither a patch and a task nor a record is named; `extra-missing` without
            lm-eval; what asking refuses.
    """
    if arguments.recheck is not None:
        return _recheck(arguments.recheck)
    if not arguments.patch or not arguments.task:
        raise Rejected(
            "settings-invalid",
            subject="compose benchmark",
            expected="--patch DIR and --task NAME",
            got="no --patch" if not arguments.patch else "no --task",
            fix="say what is asked of what, such as --patch patches/toxicity --task mmlu_anatomy",
        )
    from compose.evaluate.benchmark import require_lm_eval

    require_lm_eval()
    from compose.evaluate.benchmark.record import BenchmarkSpec, read_record
    from compose.report.benchmark import terminal
    from compose.validated import validated

    names = ("limit", "shots", "chat", "tasks_path", "seed")
    asked = {"tasks": tuple(arguments.task), **{name: getattr(arguments, name) for name in names}}
    spec = validated(BenchmarkSpec, asked, subject="compose benchmark")
    model = base_spec(arguments)
    from compose.laboratory.benchmarking import benchmark

    folder = benchmark(spec, model, arguments.patch, arguments.runs, data=arguments.data, device=arguments.device)
    print(printable(terminal(read_record(folder))))
    print(f"\nrecord: {folder}")
    return 0


def _recheck(place: Path) -> int:
    """Return 0 once every number of a record has been made again."""
    from compose.evaluate.benchmark.record import recheck

    record = recheck(place)
    print(f"{len(record.numbers)} numbers are those of their rows")
    return 0


VERB = Verb("measure patches on tasks of lm-eval (MMLU, ...) beside the unpatched base", add_arguments, run)
