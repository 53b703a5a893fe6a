"""From a matplotlib figure to what a report carries: an SVG that lives in the page, and a PNG file beside it.

Sizes are in pixels of the page, one matplotlib point each. The SVG's text stays text in the page's own font,
its colours become CSS variables that follow the page's scheme, and its ids cannot clash with another's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from compose.report import palette

POINTS_PER_INCH = 72
PNG_DPI = 200
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # the one font that matplotlib brings along: PNGs are the same everywhere
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "compose",
    "text.color": palette.INK,
    "axes.edgecolor": palette.RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": palette.MUTED,
    "xtick.color": palette.MUTED,
    "ytick.color": palette.MUTED,
}
_FONT = re.compile(r"font: (?:(italic) )?(?:(\d+|bold) )?([\d.]+px) [^;\"]*")


@dataclass(frozen=True)
class Plot:
    """A drawn picture.

    Args:
        name: Stem of its file's name, and what its ids begin with.
        alt: What it shows, in words.
        width: Pixels.
        height: Pixels.
        svg: Ready to stand in the page.
        png: The bytes of the file.
    """

    name: str
    alt: str
    width: int
    height: int
    svg: Markup
    png: bytes


class Sheet:
    """A figure whose axes are placed in pixels from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        FigureCanvasAgg(self.figure)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return bare axes whose top left corner is at (x, y)."""
        bottom = self.height - y - height
        box = (x / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0)
        return axes

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text at (x, y), by default with its middle at y and its left end at x."""
        self.figure.text(x / self.width, 1 - y / self.height, text, **{"va": "center", **style})

    def plot(self, name: str, alt: str) -> Plot:
        """Return the finished picture."""
        vector, raster = io.BytesIO(), io.BytesIO()
        self.figure.savefig(vector, format="svg", transparent=True, metadata={"Date": None})
        self.figure.savefig(raster, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
        svg = _for_page(vector.getvalue().decode("utf-8"), self, name, alt)
        return Plot(name, alt, self.width, self.height, svg, raster.getvalue())


@contextmanager
def style() -> Iterator[None]:
    """Draw with the report's style inside the block, whatever the user's matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, STYLE))
        yield


def _for_page(svg: str, sheet: Sheet, name: str, alt: str) -> Markup:
    """Return matplotlib's SVG without its prologue, in the page's font and colours, with ids of its own."""
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', lambda match: f"{match[1]}{name}-", body)
    body = _FONT.sub(_page_font, body).replace("font-family: 'DejaVu Sans'; ", "")
    for role, (light, _) in palette.ROLES.items():
        body = body.replace(light, f"var(--{role})")
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{escape(alt)}"'
        f' viewBox="0 0 {sheet.width} {sheet.height}" width="{sheet.width}" height="{sheet.height}">'
    )
    return Markup(head + body)  # matplotlib escapes its text, the rest is made here


def _page_font(match: re.Match[str]) -> str:
    slant, weight, size = match.groups()
    parts = [f"font-size: {size}"]
    parts += [f"font-weight: {weight}"] if weight else []
    parts += [f"font-style: {slant}"] if slant else []
    return "; ".join(parts)
