"""What do patches for several risks forget, and which way of having them all forgets least?

    python -m experiments.forgetting experiment=quick
    python -m experiments.forgetting experiment=two_risk seed=1
    python -m experiments.forgetting --multirun experiment=two_risk seed=0,1,2 strategy=sequential,stacked
    python -m experiments.forgetting --multirun experiment=two_risk seed=0,1,2 launcher=joblib

An interrupted run goes on when its command is repeated; a finished one is shown again at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import to_absolute_path
from omegaconf import DictConfig

from compose import settings
from compose.conf_path import conf_folder
from compose.errors import Rejected, exit_status
from compose.laboratory.folders import Folders

MULTIRUN = ("--multirun", "-m")


@hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")
def job(config: DictConfig) -> None:
    """Run one job unless it is complete, and show its table and where its report is."""
    values = settings.plain(config)
    # A launcher may start jobs in another folder than the one the command was given in.
    root = Path(to_absolute_path(str(values["runs"])))
    folders = Folders(root, str(values["name"]), settings.run_key(values))
    if folders.is_complete():
        print("this run is complete; shown from disk", file=sys.stderr)
    else:
        checked = settings.load(config)
        # Heavy: torch and all that is built on it. A complete run is shown without.
        from compose.laboratory.job import run_job

        words = shlex.join(HydraConfig.get().overrides.task)
        command = f"python -m experiments.forgetting {words}".strip()
        run_job(checked, folders, config=settings.as_yaml(values), command=command)
    print(shown(folders), flush=True)


def shown(folders: Folders) -> str:
    """Return the table of a complete run and where everything of it is."""
    from compose import report
    from compose.report.results import read_results
    from compose.report.tables import terminal

    try:
        results = read_results(folders.run)
        table = terminal(results)
    except Rejected as error:
        again = f"remove {folders.run} and repeat the command: patches and measurements are kept apart"
        raise Rejected(error.code, subject=error.subject, expected=error.expected, got=error.got, fix=again) from error
    if not folders.page.is_file():
        report.build([folders.run], folders.report)
    lock = f"compose init --run {shlex.quote(str(folders.run))} --arm ARM"
    arms = ", ".join(arm.name for arm in results.arms)
    return f"{table}\nreport:  {folders.page}\nresults: {folders.run}\nto lock an arm: {lock}\n  one of {arms}"


def main() -> int:
    """Return the exit status: 0, 2 for what cannot be done as asked, 130 after Ctrl-C."""
    # Hydra then raises what it would print in its own words, and every error is said alike.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Its parser does not take the option between overrides, where people write it.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in MULTIRUN)
    return exit_status(_run)


def _run() -> None:
    """Let Hydra call the job, once or for a sweep, and say its errors as all others are said."""
    try:
        job()
    except HydraException as error:
        raise settings.from_composition(error) from error


if __name__ == "__main__":
    sys.exit(main())
