"""Where an experiment keeps what it makes, and when a run is complete. Free of torch: it is asked first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compose import durable

COMPLETE = "complete"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class Folders:
    """The places under one root of runs; what several jobs share lies beside the runs, named by content.

    Args:
        root: The root of all runs.
        experiment: Name of the experiment.
        key: Name of the run, a digest of its settings.
    """

    root: Path
    experiment: str
    key: str

    @property
    def run(self) -> Path:
        """Return the folder of this run."""
        return self.root / self.experiment / self.key

    @property
    def report(self) -> Path:
        """Return the folder of this run's report."""
        return self.run / "report"

    @property
    def page(self) -> Path:
        """Return the page of this run's report."""
        return self.report / "report.html"

    @property
    def tracking(self) -> Path:
        """Return the folder of what the tracker writes about this run."""
        return self.run / "tracking"

    @property
    def patches(self) -> Path:
        """Return the folder of this run's finished patches, one of each arm's name."""
        return self.run / "patches"

    @property
    def stages(self) -> Path:
        """Return the folder of trained patches by stage key, which all jobs share."""
        return self.root / "stages"

    @property
    def adapters(self) -> Path:
        """Return the folder of the LoRA adapters that patches are compared with, which all jobs share."""
        return self.root / "adapters"

    @property
    def samples(self) -> Path:
        """Return the folder of generations kept for pairs, which all jobs share."""
        return self.root / "samples"

    @property
    def pairs(self) -> Path:
        """Return the folder of the pairs that this run's patches were taught with."""
        return self.run / "pairs"

    @property
    def measurements(self) -> Path:
        """Return the folder of measurements by content, which all jobs share."""
        return self.root / "measurements"

    def is_complete(self) -> bool:
        """Return whether the run has finished; its marker is the last file that is written."""
        return (self.run / COMPLETE).is_file()

    def mark_complete(self) -> None:
        """Say that everything of this run is written."""
        durable.write_text(self.run / COMPLETE, f"{self.key}\n")
