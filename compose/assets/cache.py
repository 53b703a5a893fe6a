"""Where fetched and converted assets are kept, and whether the network may be asked for more."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root(cache: Path | None = None) -> Path:
    """Return the cache folder: `cache` when given, else `$COMPOSE_CACHE`, else this user's cache folder."""
    if cache is not None:
        return cache
    chosen = os.environ.get("COMPOSE_CACHE", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("compose", appauthor=False))


def offline(*, hub: bool = False) -> bool:
    """Return whether the user forbids the network: `COMPOSE_OFFLINE` says yes, or for the hub `HF_HUB_OFFLINE`.

    The hub has a switch of its own because many networks have a package index and no hub.

    Args:
        hub: Whether the HF hub is meant, and not a package index.
    """
    names = ("COMPOSE_OFFLINE", "HF_HUB_OFFLINE") if hub else ("COMPOSE_OFFLINE",)
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in names)
