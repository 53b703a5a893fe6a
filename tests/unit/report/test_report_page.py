"""The page stands alone, shows every part, and lets no text act; its pictures are sound SVG."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compose.errors import Rejected
from compose.report import build, plots, publish
from compose.report.export import compact, to_csv
from compose.report.merge import merge
from compose.report.palette import strokes
from compose.report.pictures import pictures
from compose.report.results import Estimate, read_results

MakeRun = Callable[..., Path]
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The tags and attributes of a page; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


BRIEF = ("concat", "sequential-replay")
"""Strategies enough for a page with every part."""


@pytest.fixture
def page(make_run: MakeRun, tmp_path: Path) -> str:
    """Return the page of two seeds."""
    return build([make_run(seed=seed, labels=BRIEF) for seed in (0, 1)], tmp_path / "report").read_text()


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    """Return a run's folder."""
    return make_run(labels=BRIEF)


def test_every_part_is_on_the_page(page: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Safety beside utility",
        "Where safety is lost",
        "Every risk after every stage",
        "Training pairs",
        "Examples",
        "Every metric",
        "How this was made",
    ]
    assert page.index("<h1>") < page.index("retention-figure_1") < page.index("<table>")
    for shown in ("seeds 0, 1", "3f2c1d9e8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e", "Example CPU", "torch 2.13.0"):
        assert shown in page
    assert "python -m experiments.forgetting experiment=two_risk seed=1" in page


def test_the_page_is_balanced_and_fits_a_phone(page: str) -> None:
    parsed = Page(page)
    assert ("content", "width=device-width, initial-scale=1") in parsed.attributes
    assert parsed.tags["table"] == parsed.tags["caption"] > 0
    assert page.count('<div class="scroll"') == parsed.tags["table"]
    assert "prefers-color-scheme:dark" in page


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["iframe"] == 0
    addresses = [value for name, value in parsed.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert [one for one in addresses if not one.startswith("#")] == ["results.csv", "results.json", "pictures/"]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert any("default-src 'none'" in value for _, value in parsed.attributes)


def test_a_completion_that_is_markup_is_text(make_run: MakeRun, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script></details><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    text = build([make_run(completion=evil, labels=BRIEF)], tmp_path / "report").read_text()
    parsed = Page(text)
    assert "<script" not in text
    assert parsed.tags["img"] == 0
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;/details&gt;" in text
    assert "{{ 7 * 7 }}" in text


def test_texts_are_shown_only_on_a_click_behind_a_warning(page: str) -> None:
    warning, shown = page.index("Content warning"), page.index("a harmless sentence")
    assert warning < page.index("<details>", warning) < shown
    assert "<details open" not in page
    assert page.count('<div class="example">') == 2 * 4


def test_a_run_that_kept_no_texts_has_a_page_without_examples(run: Path, tmp_path: Path) -> None:
    for path in (run / "records").iterdir():
        path.unlink()
    assert "Examples" not in build([run], tmp_path / "report").read_text()


def test_ids_are_unique_though_many_pictures_are_in_one_page(page: str) -> None:
    ids = Counter(value for name, value in Page(page).attributes if name == "id")
    assert [one for one, count in ids.items() if count > 1] == []


def test_three_risks_fold_the_many_orders_away(make_run: MakeRun, tmp_path: Path) -> None:
    text = build([make_run(risks=("toxicity", "bias", "harm"))], tmp_path / "report").read_text()
    Page(text)
    assert "Every arm, with intervals" in text
    assert "The other 5 orders" in text
    assert "Every order" in text


def test_beside_the_page_lie_csv_json_and_a_png_of_every_picture(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    text = build([run], out).read_text()
    names = {path.stem for path in (out / "pictures").iterdir()}
    assert {"retention", "curves-bias-toxicity-on-bias", "matrix-mean-toxicity-bias"} <= names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (out / "pictures").iterdir())
    assert {path.name for path in out.iterdir()} == {"report.html", "results.csv", "results.json", "pictures"}
    assert json.loads((out / "results.json").read_text())["seeds"] == [0]
    assert text.endswith("</html>\n") or text.endswith("</html>")


def test_a_report_is_replaced_and_the_same_runs_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    first = {path.name: path.read_bytes() for path in build([run], out).parent.rglob("*.*")}
    (out / "pictures" / "old.png").write_bytes(b"left over")
    second = {path.name: path.read_bytes() for path in build([run], out).parent.rglob("*.*")}
    assert first == second


def test_a_report_does_not_overwrite_the_runs_own_results(run: Path) -> None:
    before = (run / "results.json").read_bytes()
    with pytest.raises(Rejected, match="the run folder itself"):
        build([run], run)
    assert (run / "results.json").read_bytes() == before


def test_a_failure_leaves_the_old_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report"
    before = build([run], out).read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(publish, "page", lambda *_: (_ for _ in ()).throw(RuntimeError("no")))
        with pytest.raises(RuntimeError):
            build([run], out)
    assert (out / "report.html").read_bytes() == before


def test_the_csv_holds_one_number_a_line_and_no_texts(make_run: MakeRun) -> None:
    summary = merge([read_results(make_run())])
    rows = list(csv.DictReader(io.StringIO(to_csv(summary))))
    base = next(r for r in rows if r["name"] == "base" and r["metric"] == "toxic_rate_any")
    assert float(base["value"]) == pytest.approx(1 - summary.rows["base"].safety["toxicity"].value, abs=1e-5)  # type: ignore[operator]
    assert (base["direction"], base["n"], base["seeds"]) == ("lower", "60", "0")
    kept = [r for r in rows if r["what"] == "arm" and r["metric"] == "retention"]
    assert len(kept) == 2 * len(summary.arms)


def test_the_compact_summary_has_provenance_and_numbers_and_neither_prompts_nor_texts(make_run: MakeRun) -> None:
    text = json.dumps(compact(merge([read_results(make_run(seed=seed)) for seed in (0, 1)])))
    values = json.loads(text)
    assert values["seeds"] == [0, 1]
    assert values["commits"] == ["3f2c1d9e8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e"]
    assert len(values["commands"]) == 2
    assert {"value", "low", "high", "n", "reason"} == set(values["arms"][0]["worst"])
    assert "prompt_ids" not in text
    assert "toxicity-000" not in text
    assert "harmless" not in text


def test_pictures_are_sound_svg_with_a_reading_and_no_colour_of_their_own(run: Path) -> None:
    drawn = pictures(merge([read_results(run)]))
    assert drawn.retention is not None
    for plot in [*drawn.files(), drawn.retention[1]]:
        root = ElementTree.fromstring(plot.svg)
        assert root.attrib["aria-label"] == plot.alt
        assert root.attrib["role"] == "img"
        assert "font-family" not in plot.svg
        assert "DejaVu" not in plot.svg
        assert "var(--ink)" in plot.svg or "var(--muted)" in plot.svg


def test_the_weakest_risk_of_each_arm_stands_out_and_undefined_is_a_word() -> None:
    kept = (Estimate(value=0.9, low=0.8, high=1.0), Estimate(value=0.2), Estimate(value=None, reason="no gain"))
    plot = plots.retention(["a", "b", "c"], [plots.Bars("arm", kept)], name="r")
    assert plot.svg.count("fill: var(--weak)") == 1
    assert plot.svg.count("fill: var(--bar)") == 1
    assert "undefined" in plot.svg
    assert plot.alt == "Share of each specialist's gain that is kept. arm: a 90%, b 20%, c undefined."


def test_retention_far_outside_is_drawn_at_the_edge_and_printed_exactly() -> None:
    kept = (Estimate(value=-7.25, low=-9.0, high=-5.0), Estimate(value=4.0, low=3.0, high=5.0))
    plot = plots.retention(["a", "b"], [plots.Bars("arm", kept)], name="r")
    assert "\N{MINUS SIGN}725%" in plot.svg
    assert "400%" in plot.svg


def test_every_cell_of_a_matrix_is_printed_and_the_trained_one_is_framed() -> None:
    R = ((0.25, 0.5), (0.75, 1.0))
    drawn = plots.Matrix(title="arm", order=("b", "a"), risks=("a", "b"), R=R, base=(0.125, 0.375))
    plot = plots.matrix(drawn, name="m")
    for value in ("0.12", "0.38", "0.25", "0.50", "0.75", "1.00"):
        assert f">{value}<" in plot.svg
    # Stage 1 handles b and stage 2 handles a: one frame each, none in the base's row.
    assert plot.svg.count("stroke: var(--weak)") == 2
    assert "base: a 0.12, b 0.38; 1. b: a 0.25, b 0.50; 2. a: a 0.75, b 1.00" in plot.alt


def test_strategies_differ_in_hue_and_their_variants_in_dash() -> None:
    found = strokes(["stacked", "sequential-pad", "sequential", "sequential-replay"])
    assert found["sequential"].role == found["sequential-replay"].role == found["sequential-pad"].role
    assert found["sequential"].role != found["stacked"].role
    assert found["sequential-replay"].dash == ()
    assert len({found[label].dash for label in ("sequential", "sequential-replay", "sequential-pad")}) == 3
