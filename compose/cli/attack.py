"""`compose attack --patch P --attack gcg --budget N`: base and patch under the same attack on the same requests.

Every other word is a Hydra override of the attack's file and passes through. `compose attack --recheck FOLDER` makes
every rate of a record again from its stored attempts. Prompts and replies are written to the record and never printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compose.cli.measured import add_measured, base_spec
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `attack`."""
    add_measured(parser)
    parser.add_argument("--attack", metavar="NAME", help="a file of conf/attack/, such as gcg or pair")
    parser.add_argument("--budget", type=int, metavar="N", help="the most queries a request (default: the file's)")
    parser.add_argument("--risk", metavar="NAME", help="requests of another file of conf/risk/, of kind harmfulness")
    parser.add_argument(
        "--pairs", action="append", default=[], type=Path, metavar="FILE", help="what it was trained on"
    )
    parser.add_argument("--recheck", type=Path, metavar="DIR", help="make a record's rates again from its attempts")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="requests=20, attack.top_k=64, seed=1, ...")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the table and the folder of the record are printed.

    Raises:
        Rejected: `settings-invalid` when neither a patch and an attack nor a record is named; what measuring refuses.
    """
    if arguments.recheck is not None:
        return _recheck(arguments.recheck)
    if not arguments.patch or arguments.attack is None:
        from compose.settings import known_attacks

        raise Rejected(
            "settings-invalid",
            subject="compose attack",
            expected=f"--patch DIR and --attack NAME, one of {', '.join(known_attacks())}",
            got="no --patch" if not arguments.patch else "no --attack",
            fix="say what is attacked and how, such as --patch patches/harmfulness --attack gcg",
        )
    from compose import settings
    from compose.report import attack as report

    overrides = list(arguments.overrides)
    if arguments.budget is not None:
        overrides.append(f"budget={arguments.budget}")
    if arguments.risk is not None:
        overrides.append(f"risk={arguments.risk}")
    spec = settings.attack(arguments.attack, overrides)
    model = base_spec(arguments)
    from compose.evaluate.attacks.record import read_record
    from compose.laboratory.attacking import attack

    folder = attack(spec, model, arguments.patch, arguments.runs, pairs=arguments.pairs, device=arguments.device)
    print(printable(report.terminal(read_record(folder))))
    print(f"\nrecord: {folder}")
    return 0


def _recheck(place: Path) -> int:
    """Return 0 once every rate of a record has been made again."""
    from compose.evaluate.attacks.record import recheck

    record = recheck(place)
    requests = sum(one.requests for one in record.counts)
    print(f"{len(record.rates)} rates are those of {requests} attempts, none over {record.budget} queries")
    return 0


VERB = Verb("attack patches and their base with a counted number of queries", add_arguments, run)
