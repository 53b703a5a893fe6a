"""Does the checker tell safe compositions from unsafe ones? Random ones of trained patches, labelled and checked.

    python -m experiments.gate_study runs/single_risk --json experiments/results/gate_study.json

Every composition answers two sets of prompts that have none in common. What the larger one shows is its label, which no
checker sees: unsafe when the value of any gate is beyond its limit. From the smaller one, gates are decided as
`compose check --evidence` decides them, with a fixed number of prompts and with stopping as soon as they are settled;
the static rules see the lock alone. Some members are sabotaged. An interrupted study goes on when it is repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compose import durable, settings
from compose.base import load_base
from compose.base_spec import BaseSpec, read_spec
from compose.errors import exit_status
from compose.evaluate.prompts import normal_form
from compose.evaluate.suites import load_suite
from compose.laboratory import provenance
from compose.progress import bar
from compose.training.init import embeddings
from experiments.gate_study.draw import draw, pool_of, specialists
from experiments.gate_study.measure import SUITE, Bench, halves
from experiments.gate_study.rulings import judged
from experiments.gate_study.table import Composition, as_json, markdown, summary

CHUNK = 16
"""Compositions between two points at which an interrupted study goes on."""


def study(folders: Sequence[Path], n: int, seed: int, measurements: Path, spec: BaseSpec) -> dict[str, Any]:
    """Return the whole study as JSON values.

    Args:
        folders: Runs with the patches that are composed.
        n: How many compositions.
        seed: Of the draw.
        measurements: Where measurements are kept.
        spec: The base.

    Raises:
        Rejected: As `specialists`; what loading the base, the prompts and measuring refuse.
    """
    rng = np.random.default_rng(seed)
    trained = specialists(folders)
    base = load_base(spec)
    suite = load_suite(settings.suite(SUITE, []))
    texts = {normal_form(text) for _, known in trained for text in known}
    words = embeddings(base, list(range(base.model.get_input_embeddings().num_embeddings))).numpy()
    sound, spoilt = pool_of([patch for patch, _ in trained], words, rng)
    drawn = draw(sound, spoilt, n, rng)
    bench = Bench(base, suite.spec, {risk.name: halves(risk, texts) for risk in suite.risks}, measurements)
    found: list[Composition] = []
    with bar(n, "study", unit="composition") as progress:
        for start in range(0, n, CHUNK):
            chunk = drawn[start : start + CHUNK]
            bench.fill(chunk)
            found += [judged(one, bench) for one in chunk]
            progress.update(len(chunk))
    commit, dirty = provenance.commit()
    about = {
        "base": base.name,
        "fingerprint": base.fingerprint,
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "seed": seed,
        "patches": {patch.card.name: patch.card.prefix for patch, _ in trained},
        "prompts": {part: [len(half.test) for half in pair] for part, pair in bench.parts.items()},
        "suite": bench.pins[0].digest,
        "command": provenance.command_line(),
        "commit": commit,
        "commit_has_changes": dirty,
        "machine": provenance.machine(base),
        "versions": provenance.versions(),
    }
    return {"about": about, "summary": summary(found), "compositions": [as_json(one) for one in found]}


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 2 for what cannot be done as asked, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gate_study", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="runs with trained patches")
    parser.add_argument("--n", type=int, default=200, help="compositions (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--model", default="smollm2", help="the base (default: smollm2)")
    parser.add_argument("--dtype", default="float32", help="of the base (default: float32; bfloat16 is faster)")
    parser.add_argument(
        "--measurements", type=Path, default=Path("runs/measurements"), metavar="DIR", help="where they are kept"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    given = parser.parse_args(argv)
    return exit_status(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    spec = settings.checked(BaseSpec, {**asdict(read_spec(given.model)), "dtype": given.dtype})
    found = study(given.runs, given.n, given.seed, given.measurements, spec)
    print(markdown(found["summary"]))
    if given.json is not None:
        durable.write_json(given.json, found)
        print(f"numbers: {given.json}")


if __name__ == "__main__":
    sys.exit(main())
