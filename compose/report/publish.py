"""From run folders to a folder with the report: the page, and beside it CSV, JSON and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compose import durable
from compose.errors import Rejected
from compose.report.examples import examples
from compose.report.export import to_csv, to_json
from compose.report.html import page
from compose.report.merge import merge
from compose.report.pictures import pictures
from compose.report.results import read_results

PAGE = "report.html"
CSV = "results.csv"
JSON = "results.json"
PICTURES = "pictures"


def build(run_folders: Sequence[Path], out: Path) -> Path:
    """Return the path of the page made of one run, or of several that are merged over their seeds.

    The page is written last: where it is, everything it names is there. A report that was there is replaced.

    Args:
        run_folders: Folders that hold a `results.json`, and `records/` where texts were kept.
        out: The folder of the report; it may be inside a run folder, but is none itself.

    Raises:
        Rejected: `results-missing`, `results-invalid` or `results-differ`; `disk-full` or `read-only`.
    """
    if out.resolve() in {folder.resolve() for folder in run_folders}:
        raise Rejected(
            "settings-invalid",
            subject=f"the report's folder {out}",
            expected="another folder than the run's own",
            got=f"the run folder itself, whose {JSON} the report's would replace",
            fix=f"write it to {out / 'report'}",
        )
    summary = merge([read_results(folder) for folder in run_folders])
    drawn = pictures(summary)
    html = page(summary, drawn, examples(summary, run_folders), run_folders)
    with durable.new_folder(out / PICTURES, replace=True) as folder:
        for plot in drawn.files():
            durable.write_bytes(folder / f"{plot.name}.png", plot.png)
    durable.write_text(out / CSV, to_csv(summary))
    durable.write_json(out / JSON, to_json(summary))
    durable.write_text(out / PAGE, html)
    return out / PAGE
