"""Assets of this machine: a path, with a digest or without."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from compose.assets import Local, fetch
from compose.errors import Rejected


def test_a_path_is_returned_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert fetch(Local(path=str(tmp_path / "x"))) == tmp_path / "x"
    assert fetch(Local(path=str(tmp_path))) == tmp_path


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").touch()
    assert fetch(Local(path="~/x")) == tmp_path / "x"


def test_a_pinned_file_must_have_its_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    right = hashlib.sha256(b"x").hexdigest()
    assert fetch(Local(path=str(tmp_path / "x"), sha256=right)) == tmp_path / "x"
    with pytest.raises(Rejected, match="asset-digest"):
        fetch(Local(path=str(tmp_path / "x"), sha256="0" * 64))
    assert (tmp_path / "x").exists(), "a user's own file is never removed"


def test_a_path_with_nothing_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="asset-missing"):
        fetch(Local(path=str(tmp_path / "absent")))


def test_a_folder_cannot_be_pinned_by_one_sha256(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        fetch(Local(path=str(tmp_path), sha256="0" * 64))
