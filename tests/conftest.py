"""Fixtures that several folders of tests share."""

import os
from collections.abc import Callable
from typing import Any

# Tests run side by side, and the threads of several processes on few cores make each other ten times slower. Programs
# that tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from compose.artifact import Patch, new_patch
from compose.records import BaseRef, CardDraft


@pytest.fixture(scope="session")
def make_patch() -> Callable[..., Patch]:
    """Return a function from rows of numbers (and fields of the card) to a patch for one imaginary base."""

    def make(rows: Any, name: str = "tox", **fields: Any) -> Patch:
        base = BaseRef(name="tiny", fingerprint="sha256:" + "b" * 64, layers=2, heads=2)
        given = {"risks": ("toxicity",), "base": base, "strategy": "specialist", **fields}
        return new_patch(torch.as_tensor(rows, dtype=torch.float32), CardDraft(name=name, **given))

    return make
