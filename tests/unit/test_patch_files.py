"""A patch's folder without torch: the same files, the same digests, the same refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compose import artifact, patch_files
from compose.artifact import Patch
from compose.errors import Rejected


@pytest.fixture
def patch(make_patch: Callable[..., Patch]) -> Patch:
    return make_patch([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]])


def test_a_folder_reads_as_the_patch_that_was_saved(patch: Patch, tmp_path: Path) -> None:
    files = patch_files.read_folder(artifact.save(patch, tmp_path / "tox"))
    contents = patch_files.from_files(files)

    assert contents.card == patch.card
    assert np.array_equal(contents.values, patch.prefix.numpy())
    assert patch_files.values_digest(contents.values) == patch.card.prefix
    assert patch_files.to_files(contents.values, patch.card) == files == artifact.pack(patch)


def test_a_card_of_another_matrix_writes_no_files(patch: Patch) -> None:
    with pytest.raises(Rejected, match="artifact-mismatch"):
        patch_files.to_files(patch.prefix.numpy() + 1, patch.card)


def test_a_folder_is_read_without_torch(patch: Patch, tmp_path: Path) -> None:
    folder = artifact.save(patch, tmp_path / "tox")
    program = (
        "import sys; from compose import patch_files\n"
        f"print(patch_files.from_files(patch_files.read_folder({str(folder)!r})).card.prefix)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == patch.card.prefix


def test_a_folder_of_peft_has_no_card(patch: Patch) -> None:
    files = {name: data for name, data in artifact.pack(patch).items() if name != "patch.json"}

    contents = patch_files.from_files(files)
    assert contents.card is None
    assert contents.base_name == patch.card.base.name
