"""Fixtures that several folders of tests share."""

from collections.abc import Callable
from typing import Any

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
