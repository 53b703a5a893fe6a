"""What does one setting change? Runs of a sweep side by side, each value over its seeds, in paired differences.

    python -m experiments.compare runs/single_risk --by trainer.beta --json experiments/results/single_beta.json
    python -m experiments.compare runs/single_risk --by model.name --where order=[toxicity]   # each beside its own base
    python -m experiments.compare runs/single_risk --by reference.model   # who taught; "default" is the risk's own

A run folder is one that holds a results.json; a folder of run folders stands for all finished ones in it. Runs that
differ from the sweep in anything else are left out, so that one folder may hold several sweeps. The name of a model, or
of a reference's, brings all of its settings with it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compose import durable
from compose.errors import exit_status
from compose.report.comparison import compact, compare, having, markdown
from compose.report.results import read_results
from experiments.summarise import run_folders


def compared(
    folders: Sequence[Path],
    setting: str,
    versus: str | None,
    json: Path | None,
    table: Path | None,
    where: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the table of all values and where it was written.

    Args:
        folders: Run folders, or folders of run folders.
        setting: Key of the setting, with dots.
        versus: The value that the others are paired with; the first when None. Models are paired with their own bases.
        json: Where the numbers go; None writes none.
        table: Where the table goes, as Markdown; None writes none.
        where: Other settings, and the value that the runs must have of each.

    Raises:
        Rejected: There is no finished run, a run is broken, or the runs are no sweep of this setting.
    """
    runs = [read_results(run) for folder in folders for run in run_folders(folder)]
    for key, value in where:
        runs = having(runs, key, value)
    comparison = compare(runs, setting, versus)
    text = markdown(comparison)
    places = []
    if json is not None:
        durable.write_json(json, compact(comparison))
        places.append(f"numbers: {json}")
    if table is not None:
        durable.write_text(table, text)
        places.append(f"table:   {table}")
    return "\n".join([text, *places])


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for runs that cannot be compared, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="a run's folder, or one of several")
    parser.add_argument(
        "--by", required=True, metavar="KEY", help="the setting that was swept, such as trainer.beta or model.name"
    )
    parser.add_argument("--versus", metavar="VALUE", help="the value that the others are paired with")
    parser.add_argument(
        "--where", action="append", default=[], type=_setting, metavar="KEY=VALUE", help="only runs with this setting"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the table as Markdown")
    given = parser.parse_args(argv)
    return exit_status(
        lambda: print(compared(given.runs, given.by, given.versus, given.json, given.table, given.where))
    )


def _setting(word: str) -> tuple[str, str]:
    """Return the key and the value of one word of the command line."""
    key, equals, value = word.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{word!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
