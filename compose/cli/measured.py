"""What the verbs that measure patches beside their base share: which patches, which base, where runs are kept."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `compose --help` waits for no pydantic
    from compose.base_spec import BaseSpec


def add_measured(parser: argparse.ArgumentParser) -> None:
    """Add `--patch`, `--model`, `--dtype`, `--runs` and `--device`."""
    parser.add_argument(
        "--patch", action="append", default=[], type=Path, metavar="DIR", help="folder; may be repeated"
    )
    parser.add_argument("--model", default="smollm2", help="a name of conf/model/ (default: smollm2)")
    parser.add_argument(
        "--dtype", metavar="TYPE", help="of its weights: float32, bfloat16, float16 or auto (default: its file's)"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="root of all runs (default: runs)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:<n>; by default the GPU when there is one")


def base_spec(arguments: argparse.Namespace) -> BaseSpec:
    """Return the base that the arguments name.

    Raises:
        Rejected: `settings-invalid` for an unknown model or type of number.
    """
    from compose.base_spec import BaseSpec, read_spec
    from compose.validated import validated

    spec = read_spec(arguments.model)
    if arguments.dtype is None:
        return spec
    return validated(BaseSpec, asdict(spec) | {"dtype": arguments.dtype}, subject="--dtype")
