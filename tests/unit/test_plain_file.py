"""The door for single files: what is no plain file of sane size is refused with the caller's code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compose import durable
from compose.errors import Rejected
from compose.plain_file import read_bytes


def read(path: Path, max_bytes: int = 4) -> bytes | None:
    return read_bytes(path, max_bytes=max_bytes, code="artifact-file", subject="it")


def test_a_file_is_read_up_to_its_cap(tmp_path: Path) -> None:
    (tmp_path / "four").write_bytes(b"1234")
    (tmp_path / "five").write_bytes(b"12345")

    assert read(tmp_path / "four") == b"1234"
    assert read(tmp_path / "none") is None
    with pytest.raises(Rejected, match="5 bytes, more than 4"):
        read(tmp_path / "five")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "nul\0name"):
        with pytest.raises(Rejected) as refused:
            read(tmp_path / name)
        assert refused.value.code == "artifact-file"


def test_a_name_is_looked_up_in_the_open_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        moved = tmp_path.rename(tmp_path.with_name("moved"))
        assert read_bytes("file", max_bytes=4, code="artifact-file", subject="it", folder=handle) == b"1"
    finally:
        os.close(handle)
    moved.rename(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602])
def test_a_private_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    durable.write_bytes(path, b"1234", private=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_bytes(path, max_bytes=4, code="artifact-file", subject="it", private=True) == b"1234"

    path.chmod(mode)
    with pytest.raises(Rejected, match=f"mode {mode:04o}") as refused:
        read_bytes(path, max_bytes=4, code="artifact-file", subject="it", private=True)
    assert refused.value.code == "key-permissions"
