"""`compose evaluate --patch P --suite S`: a patch beside the unpatched base, with intervals and a record.

Every other word is a Hydra override of the suite's file and passes through. `compose evaluate --recheck FOLDER` makes
every number of a record again from its stored rows. `compose evaluate compose.lock --key NAME` measures a locked
composition for its gates, see `evaluate_lock`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compose.cli import evaluate_lock
from compose.cli.measured import add_measured, base_spec
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_measured(parser)
    parser.add_argument("--suite", metavar="NAME", help="a file of conf/suite/")
    parser.add_argument(
        "--pairs", action="append", default=[], type=Path, metavar="FILE", help="what it was trained on"
    )
    parser.add_argument(
        "--pin", action="append", default=[], metavar="SUITE", help="print what locks' evidence on a suite is known by"
    )
    parser.add_argument("--recheck", type=Path, metavar="DIR", help="make a record's numbers again from its rows")
    parser.add_argument(
        "overrides", nargs="*", metavar="LOCK | KEY=VALUE", help="compose.lock; or risks.rtp.samples=5, seed=1, ..."
    )
    evaluate_lock.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the table and the folder of the record are printed.

    Raises:
        Rejected: `settings-invalid` when neither a patch and a suite nor a record is named; what measuring refuses.
    """
    if arguments.recheck is not None:
        return _recheck(arguments.recheck)
    if arguments.pin:
        return evaluate_lock.pin(arguments.pin)
    locks = [word for word in arguments.overrides if "=" not in word]
    if locks:
        return evaluate_lock.run(_only(locks, arguments), arguments)
    if not arguments.patch or arguments.suite is None:
        from compose.settings import known_suites

        raise Rejected(
            "settings-invalid",
            subject="compose evaluate",
            expected=f"--patch DIR and --suite NAME, one of {', '.join(known_suites())}",
            got="no --patch" if not arguments.patch else "no --suite",
            fix="say what is measured on what, such as --patch patches/toxicity --suite toxicity",
        )
    from compose import settings
    from compose.report import evaluation

    spec = settings.suite(arguments.suite, arguments.overrides)
    model = base_spec(arguments)
    from compose.evaluate.suites.record import read_record
    from compose.laboratory.evaluating import evaluate

    folder = evaluate(spec, model, arguments.patch, arguments.runs, pairs=arguments.pairs, device=arguments.device)
    record = read_record(folder)
    print(printable(evaluation.terminal(record)))
    print(f"\nreport: {evaluation.write_page(record, folder)}\nrecord: {folder}")
    return 0


def _only(locks: list[str], arguments: argparse.Namespace) -> Path:
    """Return the one lock that is named, when nothing else is.

    Raises:
        Rejected: `settings-invalid` for several locks, and for a suite, patches, a type of number or overrides beside
            one.
    """
    if len(arguments.overrides) > 1 or any((arguments.suite, arguments.patch, arguments.dtype)):
        raise Rejected(
            "settings-invalid",
            subject="compose evaluate LOCK",
            expected="one lock: its patches and suites are in it, and nothing about them can be changed from outside",
            got=ascii([*locks, *(word for word in arguments.overrides if "=" in word)])[1:-1],
            fix="leave out --patch, --suite, --dtype and KEY=VALUE, or name no lock",
        )
    return Path(locks[0])


def _recheck(place: Path) -> int:
    """Return 0 once every number of a record has been made again."""
    from compose.evaluate.suites.record import recheck

    record = recheck(place)
    print(
        f"{len(record.numbers)} numbers and {len(record.counts)} counts are those of {len(record.files)} files of rows"
    )
    return 0


VERB = Verb("measure patches on a suite, or a lock for its gates", add_arguments, run)
