"""Print how our training, generation and evaluation compare with stock TRL and PEFT, as ratios from one run.

    python -m experiments.bench                                  # SmolLM2, on whatever this machine has
    python -m experiments.bench parts=[dpo] tokens=[50] rounds=5
    python -m experiments.bench parts=[evaluate] tokens=[50] memory=false suite=[xstest]   # a whole evaluation
    python -m experiments.bench model=llama2_7b_shape parts=[dpo,sft,generate,run] tokens=[50] out=bench.json

Nothing else may run meanwhile: on two cores, the threads of two jobs make each other ten times slower.
"""

from __future__ import annotations

import datetime
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import transformers

from compose.base import Base, load_base
from compose.durable import write_json
from compose.errors import exit_status
from compose.laboratory.provenance import commit, machine, versions
from experiments.bench.cases import measure
from experiments.bench.settings import read_settings

MEGABYTE = 1e6


def main(words: Sequence[str]) -> int:
    """Return the exit status: 0 when everything was measured, 2 for wrong settings, 130 after Ctrl-C."""
    return exit_status(lambda: _run(words))


def _run(words: Sequence[str]) -> None:
    """Measure part by part and print the table so far; the JSON grows with it, so that Ctrl-C loses only one."""
    settings = read_settings(words)
    quiet()
    base = load_base(settings.model, device=settings.device)
    records: list[dict[str, Any]] = []
    for name in settings.parts:
        for tokens in settings.tokens:
            records += measure(base, settings, name, tokens)
            if settings.out:
                result = {"about": about(base), "settings": asdict(settings), "records": records}
                write_json(Path(settings.out), result)
            print(table(records), flush=True)


def about(base: Base) -> dict[str, Any]:
    """Return what the numbers were measured on: machine, versions, commit, base."""
    revision, changed = commit()
    return {
        "machine": machine(base),
        "versions": versions(),
        "commit": revision,
        "commit_has_changes": changed,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
        "dtype": str(base.model.dtype),
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return the records as text: seconds, ratio (lowest and highest of a round), peak memory."""
    head = ("part", "prefix", "variant", "seconds", "ratio", "rounds", "peak MB", "of it, added")
    rows = [head]
    for record in records:
        low, high = record["ratio_range_of_rounds"]
        peak, loaded = record.get("peak_bytes"), record.get("loaded_bytes")
        rows.append(
            (
                record["part"],
                str(record["tokens"]),
                record["variant"],
                f"{record['seconds']:.3f}",
                f"{record['ratio']:.2f}",
                f"{low:.2f}-{high:.2f}",
                "" if peak is None else f"{peak / MEGABYTE:.0f}",
                "" if peak is None or loaded is None else f"{(peak - loaded) / MEGABYTE:.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def quiet() -> None:
    """Keep the trainers' chatter out of the table."""
    warnings.simplefilter("ignore", FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
