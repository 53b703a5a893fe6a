"""What people read: tables, plots and one self-contained HTML page made from the results of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def build(run_folders: Sequence[Path], out: Path) -> Path:
    """Return the path of `report.html`, made in `out` from one or several runs (see `publish.build`)."""
    # The laboratory imports this package for its records alone and must not wait for matplotlib.
    from compose.report.publish import build as make

    return make(run_folders, out)
