"""Asset settings: what may be written in a settings file, and what could climb out of a folder."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from compose.assets.source import Asset, Hub, Local, Wheel

ASSET: TypeAdapter[Any] = TypeAdapter(Asset)
WHEEL = {
    "source": "wheel",
    "package": "some-package",
    "version": "1.0.0",
    "sha256": "a" * 64,
    "member": "some_package/data/file.bin",
    "member_sha256": "b" * 64,
}


def test_the_key_source_decides_which_kind_of_asset_it_is() -> None:
    assert isinstance(ASSET.validate_python(WHEEL), Wheel)
    assert isinstance(ASSET.validate_python({"source": "hub", "repo": "owner/name"}), Hub)
    assert isinstance(ASSET.validate_python({"source": "path", "path": "~/x"}), Local)


@pytest.mark.parametrize("member", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "", "a/", "./a", "a\x00b"])
def test_a_member_that_climbs_out_of_its_folder_is_refused(member: str) -> None:
    with pytest.raises(ValidationError, match="member"):
        ASSET.validate_python({**WHEEL, "member": member})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("package", "-r/etc/passwd"),
        ("package", "a b"),
        ("package", "a/b"),
        ("version", "--pre"),
        ("version", "1.0/.."),
        ("version", "1.0\n"),
        ("sha256", "A" * 64),
        ("sha256", "a" * 63),
        ("sha256", "a" * 64 + "\n"),
        ("wheel_bytes", 0),
    ],
)
def test_what_could_become_an_option_a_path_or_a_wrong_digest_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        ASSET.validate_python({**WHEEL, key: value})


def test_an_unknown_key_and_an_unknown_source_are_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        ASSET.validate_python({**WHEEL, "colour": "red"})
    with pytest.raises(ValidationError, match="ftp"):
        ASSET.validate_python({"source": "ftp", "path": "x"})


@pytest.mark.parametrize("repo", ["owner/name/more", "../x", "", "owner/"])
def test_a_repository_has_an_owner_and_a_name(repo: str) -> None:
    with pytest.raises(ValidationError, match="repo"):
        Hub(repo=repo)
