"""Finding conf/ in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose import conf_path
from compose.errors import Rejected


def place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(conf_path, "__file__", str(folder / "compose" / "conf_path.py"))


def test_in_a_checkout_it_lies_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    place(monkeypatch, tmp_path)
    assert conf_path.conf_folder() == tmp_path / "conf"


def test_an_installed_package_carries_it_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "compose" / "conf" / "model").mkdir(parents=True)
    place(monkeypatch, tmp_path)
    assert conf_path.conf_folder() == tmp_path / "compose" / "conf"


def test_a_folder_of_that_name_that_is_not_ours_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    place(monkeypatch, tmp_path)
    with pytest.raises(Rejected, match="reinstall"):
        conf_path.conf_folder()
