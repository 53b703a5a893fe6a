"""The prompt files that `conf/` names, so that `doctor` can look for them before a run does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import TypeAdapter

from compose.assets import Asset, Wheel, Wheels
from compose.conf_path import conf_folder

MODEL_GROUPS = ("model", "reference")
"""Groups that name models: `doctor` looks for the one that was asked for, not for all of them."""


def prompt_assets() -> dict[str, list[Asset]]:
    """Return the package-index files that each settings file names, those of models left out.

    What lies on the hub or on someone's disk is for those who choose it, and is looked for when they do.

    Raises:
        pydantic.ValidationError: When `conf/`, which is ours, describes an impossible asset.
    """
    found: dict[str, list[Asset]] = {}
    conf = conf_folder()
    for path in sorted(conf.rglob("*.yaml")):
        group = path.relative_to(conf).parts[0]
        if group in MODEL_GROUPS:
            continue
        for values in _described(yaml.safe_load(path.read_text(encoding="utf-8"))):
            asset: Asset = TypeAdapter(Asset).validate_python(values)
            if isinstance(asset, Wheel | Wheels):
                found.setdefault(f"{group}/{path.stem}", []).append(asset)
    return found


def _described(values: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping below `values` that describes an asset."""
    if isinstance(values, dict):
        if "source" in values and isinstance(values["source"], str):
            yield values
            return
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _described(value)
