"""What the verbs that measure patches beside their base share: which patches, which base, where runs are kept."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_measured(parser: argparse.ArgumentParser) -> None:
    """Add `--patch`, `--model`, `--runs` and `--device`."""
    parser.add_argument(
        "--patch", action="append", default=[], type=Path, metavar="DIR", help="folder; may be repeated"
    )
    parser.add_argument("--model", default="smollm2", help="a name of conf/model/ (default: smollm2)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="root of all runs (default: runs)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:<n>; by default the GPU when there is one")
