"""The page itself: everything a template needs, and one file that asks nothing of the network.

Texts are escaped by the template engine; the page also forbids itself every script and every request, so that
a completion could do nothing even if it got through.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from compose.report import palette, tables, words
from compose.report.examples import Example
from compose.report.pictures import Pictures
from compose.report.summary import Summary
from compose.report.verdict import verdict

TEMPLATE = "page.html.j2"
STYLESHEET = "page.css"


def page(
    summary: Summary, pictures: Pictures, examples: dict[str, tuple[Example, ...]], folders: Sequence[Path]
) -> str:
    """Return the report as one HTML document."""
    return render(
        TEMPLATE,
        summary=summary,
        verdict=verdict(summary),
        models=tables.models(summary, best_orders=pictures.by_strategy),
        every_model=tables.models(summary) if pictures.by_strategy else None,
        metrics=tables.metrics(summary),
        forgetting=tables.forgetting(summary),
        pictures=pictures,
        examples=examples,
        reproduce=_reproduce(summary, folders),
    )


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled in, every text escaped, with the report's style and colours."""
    environment = Environment(
        loader=PackageLoader("compose.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number, percent=words.percent, metric=words.metric, strategy=words.strategy,
        duration=words.duration, version=words.version, machine=words.machine, pretty=_pretty, legend=_legend,
    )  # fmt: skip
    style = (files("compose.report") / STYLESHEET).read_text(encoding="utf-8")
    return environment.get_template(template).render(style=Markup(style), colours=_colours(), **values)


def _colours() -> Markup:
    """Return the plots' colours as CSS variables of the light and the dark scheme."""
    light, dark = ("".join(f"--{role}:{pair[place]};" for role, pair in palette.ROLES.items()) for place in (0, 1))
    return Markup(f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}")


def _legend(stroke: palette.Stroke) -> Markup:
    """Return a short piece of a line as it is drawn in the curves."""
    dash = f' stroke-dasharray="{" ".join(f"{1.8 * part:g}" for part in stroke.dash)}"' if stroke.dash else ""
    return Markup(
        f'<svg class="swatch" width="30" height="8" aria-hidden="true"><line x1="0" y1="4" x2="30" y2="4" '
        f'style="stroke:var(--{stroke.role})" stroke-width="2"{dash}/></svg>'
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _reproduce(summary: Summary, folders: Sequence[Path]) -> list[str]:
    """Return the commands that make the runs, and the one that makes this page of them."""
    came = summary.provenance
    commands = [f"git checkout {commit}" for commit in came.commits if commit != "unknown"]
    commands += came.commands
    return [*commands, shlex.join(["python", "-m", "experiments.summarise", *map(str, folders)])]
