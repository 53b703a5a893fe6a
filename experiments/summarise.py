"""What do the runs of several seeds say together? One report, and a summary small enough to commit.

    python -m experiments.summarise runs/two_risk --json experiments/results/two_risk.json

A run folder is one that holds a results.json; a folder of run folders stands for all finished ones in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compose import durable
from compose.errors import exit_status
from compose.laboratory.folders import CONFIG
from compose.report import build
from compose.report.export import compact
from compose.report.merge import merge
from compose.report.results import RESULTS_FILE, read_results
from compose.report.tables import markdown, terminal


def summarise(folders: Sequence[Path], out: Path | None, json: Path | None, table: Path | None = None) -> str:
    """Return the table of all runs together and where their report is.

    Args:
        folders: Run folders, or folders of run folders.
        out: Where the report goes; None is `report` beside the first run.
        json: Where the compact summary goes; None writes none.
        table: Where the main table goes, as Markdown; None writes none.

    Raises:
        Rejected: There is no finished run, a run is broken, or the runs are not of one experiment.
    """
    runs = [run for folder in folders for run in run_folders(folder)]
    summary = merge([read_results(run) for run in runs])
    page = build(runs, out or runs[0].resolve().parent / "report")
    places = [f"report:  {page}"]
    if json is not None:
        durable.write_json(json, compact(summary))
        places.append(f"summary: {json}")
    if table is not None:
        durable.write_text(table, markdown(summary))
        places.append(f"table:   {table}")
    return "\n".join([terminal(summary), *places])


def run_folders(folder: Path) -> list[Path]:
    """Return the run folders that a folder stands for; itself when it holds none, for the reader to refuse."""
    if (folder / RESULTS_FILE).is_file() or not folder.is_dir():
        return [folder]
    # A report of several runs has a results.json of its own and no configuration.
    inside = (path.parent for path in sorted(folder.glob(f"*/{RESULTS_FILE}")))
    return [run for run in inside if (run / CONFIG).is_file()] or [folder]


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for runs that cannot be summarised, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.summarise", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="a run's folder, or one of several")
    parser.add_argument("--out", type=Path, help="the report's folder (default: report/ beside the first run)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write a compact summary, without any text")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the main table as Markdown")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: print(summarise(arguments.runs, arguments.out, arguments.json, arguments.table)))


if __name__ == "__main__":
    sys.exit(main())
