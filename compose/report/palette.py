"""Colours and dashes of the plots. Hues are Okabe and Ito's set, which colour-blind readers tell apart.

Plots are drawn once, in the light colours. In the page's SVG each colour below becomes a CSS variable named
after its role, and the page's dark scheme gives it another value; a colour therefore has exactly one role.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.colors import LinearSegmentedColormap

INK = "#1c2126"
MUTED = "#5f6b75"
RULE = "#dde2e6"
FIELD = "#fffffe"
BAR = "#9fb4c0"
WEAK = "#d55e00"

ROLES: dict[str, tuple[str, str]] = {
    "ink": (INK, "#e8eaec"),
    "muted": (MUTED, "#9aa6b0"),
    "rule": (RULE, "#343b42"),
    "field": (FIELD, "#15181b"),
    "bar": (BAR, "#5f7684"),
    "weak": (WEAK, "#f0883e"),
    "c1": ("#0072b2", "#4aa8e0"),
    "c2": ("#d15c01", "#f0883f"),
    "c3": ("#009e73", "#2cc79b"),
    "c4": ("#b85f92", "#dc8fb9"),
    "c5": ("#8a7a00", "#e5d64a"),
    "c6": ("#414a52", "#c4ccd3"),
}
"""Role -> (light, dark). `c1` to `c6` are the hues of strategies, in the order of being handed out."""

HUES = tuple(light for role, (light, _) in ROLES.items() if role.startswith("c"))
DASHES: dict[str, tuple[float, ...]] = {"": (4, 2), "replay": (), "pad": (1, 1.6)}
"""By variant: replay is the solid line, its two controls (nothing added, padding) are broken ones."""

SAFETY = LinearSegmentedColormap.from_list("safety", ["#f6efe4", "#c9dccf", "#74b0a8", "#2b7a83", "#0d4653"])
"""Safety 0 to 1: darkens evenly, so that it reads in grey as well."""


@dataclass(frozen=True)
class Stroke:
    """How one strategy's line is drawn; `dash` is on-off lengths in line widths, empty for a solid line."""

    role: str
    colour: str
    dash: tuple[float, ...]


def strokes(labels: Iterable[str]) -> dict[str, Stroke]:
    """Return a stroke for each label: one hue a strategy, one dash a variant (`sequential-replay`)."""
    hues: dict[str, int] = {}
    found = {}
    for label in sorted(set(labels)):
        family, _, variant = label.partition("-")
        hue = hues.setdefault(family, len(hues) % len(HUES))
        found[label] = Stroke(f"c{hue + 1}", HUES[hue], DASHES.get(variant, (6, 1.5, 1, 1.5)))
    return found
