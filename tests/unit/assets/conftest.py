"""A package index on this disk, so that pip really downloads and no test needs a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.assets.source import Wheel

MakeWheel = Callable[..., Wheel]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("COMPOSE_CACHE", str(folder))
    for name in ("COMPOSE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make_wheel(index: Path) -> MakeWheel:
    """Return a function that puts a wheel with one data file into the index and returns its settings."""

    def make(package: str, data: bytes, *, requires: str = "", python: str = "") -> Wheel:
        name = package.replace("-", "_")
        info = f"{name}-1.0.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n"
        metadata += f"Requires-Dist: {requires}\n" if requires else ""
        metadata += f"Requires-Python: {python}\n" if python else ""
        member = f"{name}/data/file.bin"
        files = {
            member: data,
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(
            f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b'=').decode()},{len(text)}\n"
            for path, text in files.items()
        )
        path = index / f"{name}-1.0.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for where, text in {**files, f"{info}/RECORD": record.encode()}.items():
                archive.writestr(zipfile.ZipInfo(where), text)
        return Wheel(
            package=package,
            version="1.0.0",
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            member=member,
            member_sha256=hashlib.sha256(data).hexdigest(),
            wheel_bytes=path.stat().st_size,
        )

    return make
