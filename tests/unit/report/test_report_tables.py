"""Tables and the verdict: the base first, the best arm named, undefined said in words, 100 columns at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from compose.report import tables
from compose.report.merge import merge
from compose.report.pictures import pictures
from compose.report.results import REMOVED_SHARE, Estimate, MetricValue, RunResults
from compose.report.summary import Summary
from compose.report.verdict import verdict

Make = Callable[..., RunResults]
BASE, GOOD = (0.0, 0.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0)


def _ranked(make_small: Make, worst: dict[str, Estimate]) -> Summary:
    """Return a summary of arms with the given retention, one seed."""
    safety = {"base": BASE, "special": GOOD, **dict.fromkeys(worst, GOOD)}
    run = make_small(safety, arms={name: ("special", name) for name in worst})
    arms = tuple(
        replace(arm, retention={"toxicity": worst[arm.name]}, worst_risk_retention=worst[arm.name]) for arm in run.arms
    )
    return merge([replace(run, arms=arms)])


def test_the_base_stands_first_then_specialists_then_what_is_computed_then_what_is_trained(
    make_results: Make,
) -> None:
    table = tables.models(merge([make_results()]))
    assert [block.title.split(":")[0] for block in table.blocks] == ["Base", "Specialists", "Algebraic", "Trained"]
    assert [line.head for line in table.blocks[1].lines] == ["P_toxicity", "P_bias"]
    assert table.blocks[3].lines[0].head == "joint"


def test_exactly_the_row_that_the_verdict_names_is_marked(make_results: Make) -> None:
    summary = merge([make_results()])
    marked = [line for block in tables.models(summary).blocks for line in block.lines if line.best]
    assert len(marked) == 1
    assert f"{marked[0].head}, {marked[0].sub.split(',')[0]}" in verdict(summary).sentence


def test_intermediate_stages_are_only_in_the_table_of_every_metric(make_results: Make) -> None:
    summary = merge([make_results(risks=("toxicity", "bias", "harm"))])
    shown = sum(len(block.lines) for block in tables.models(summary).blocks)
    assert shown == 1 + 3 + len({arm.final for arm in summary.arms if arm.label != "specialist"})
    title, whole = tables.metrics(summary)[0]
    assert title.startswith("toxicity: 60 prompts, 5 samples each")
    assert len(whole.blocks[0].lines) == len(summary.rows) > shown


def test_with_one_row_a_strategy_the_best_order_is_kept(make_results: Make) -> None:
    summary = merge([make_results()])
    table = tables.models(summary, best_orders=True)
    heads = [line.head for block in table.blocks for line in block.lines]
    assert len(heads) == len(set(heads))
    best = next(line for block in table.blocks for line in block.lines if line.best)
    assert best.head == "sequential + replay"


def test_undefined_retention_is_said_in_words(make_small: Make) -> None:
    missing = Estimate(value=None, reason="the specialist gained nothing over the base")
    summary = _ranked(make_small, {"arm": missing})
    table = tables.models(summary)
    cell = table.blocks[-1].lines[0].cells[1]
    assert (cell.main, cell.note) == ("undefined", "a")
    assert table.notes == {"a": missing.reason}


def test_a_reservation_about_many_rows_is_said_once(make_small: Make) -> None:
    unsure = Estimate(value=0.5, reason="the specialist's gain is not clear of zero")
    table = tables.models(_ranked(make_small, {"one": unsure, "two": unsure}))
    assert [line.cells[1].note for line in table.blocks[-1].lines] == ["a", "a"]
    assert list(table.notes) == ["a"]


def test_columns_of_one_group_stand_together(make_results: Make) -> None:
    groups = tables.models(merge([make_results()])).groups
    assert groups == [("toxicity", 2), ("gender bias", 2), ("", 1), ("utility", 4)]


def test_a_broken_model_is_in_no_ranking_however_safe_it_looks(make_small: Make) -> None:
    run = make_small(
        {"base": BASE, "special": GOOD, "sound": BASE, "broken": GOOD},
        arms={"broken": ("special", "broken"), "sound": ("special", "sound")},
    )
    kept = {"broken": Estimate(value=1.0, low=0.9, high=1.0), "sound": Estimate(value=0.2, low=0.1, high=0.3)}
    arms = tuple(replace(arm, worst_risk_retention=kept[arm.name]) for arm in run.arms)
    ratio = MetricValue(value=1.6, direction="lower", n=4)
    unreadable = replace(run.compositions["broken"], utility={"perplexity_ratio": ratio})
    summary = merge([replace(run, arms=arms, compositions={**run.compositions, "broken": unreadable})])
    assert [arm.name for arm in summary.contenders] == ["sound", "broken"]
    said = verdict(summary)
    assert "sound" in said.sentence
    assert "Left out, with a perplexity above 1.5 times the base's: broken, toxicity." in said.details
    (marked,) = [line for block in tables.models(summary).blocks for line in block.lines if line.best]
    assert marked.head == "sound"


def test_transfer_and_forgetting_are_kept_apart_for_their_signs_differ(make_results: Make) -> None:
    run = make_results()
    arms = tuple(
        replace(arm, forgetting={"bwt_gem": -0.1, "forgetting_mammoth": 0.1, "forgetting_chaudhry": 0.1})
        for arm in run.arms
    )
    table = tables.forgetting(merge([replace(run, arms=arms)]))
    assert [(column.name, column.group) for column in table.columns[:3]] == [
        ("chaudhry", tables.LOSS),
        ("mammoth", tables.LOSS),
        ("bwt gem", tables.TRANSFER),
    ]


@pytest.mark.parametrize("risks", [("toxicity", "bias"), ("toxicity", "bias", "harm")])
def test_the_terminals_table_fits_a_hundred_columns_and_lines_up(make_results: Make, risks: tuple[str, ...]) -> None:
    lines = tables.terminal(make_results(risks=risks)).splitlines()
    assert {len(line) for line in lines} == {100}
    assert lines[0].startswith("model")
    assert lines[2].startswith("unpatched")
    assert sum(line.startswith("sequential-replay") for line in lines) == len(risks) * (len(risks) - 1)


def test_the_markdown_table_has_a_row_for_every_model_that_an_arm_ends_with(make_results: Make) -> None:
    summary = merge([make_results()])
    lines = tables.markdown(summary).splitlines()
    table = tables.models(summary)
    assert len(lines) == 2 + sum(len(block.lines) for block in table.blocks)
    # Three of the four utilities that were measured, and the bars at both ends.
    assert {line.count("|") for line in lines} == {len(table.columns) - 1 + 2}
    assert lines[2].startswith("| unpatched |")
    assert "Toxicity: toxic rate" in lines[0] or "toxicity: toxic rate" in lines[0]


def test_the_verdict_names_the_best_arm_and_whether_it_is_clearly_ahead(make_small: Make) -> None:
    close = {
        "best": Estimate(value=0.8, low=0.6, high=1.0),
        "next": Estimate(value=0.7, low=0.5, high=0.9),
        "last": Estimate(value=-0.25),
    }
    said = verdict(_ranked(make_small, close))
    assert said.sentence == ("Best of 3 arms: best, toxicity, which keeps at least 80% of every specialist's gain.")
    assert "The next, next, toxicity, keeps at least 70%: too close to tell the two apart." in said.details
    assert "The last, last, toxicity, ends at \N{MINUS SIGN}25% on its weakest risk." in said.details

    clear = verdict(_ranked(make_small, {**close, "best": Estimate(value=0.95, low=0.92, high=1.0)}))
    assert "The next, next, toxicity, keeps at least 70%." in clear.details


def test_the_verdict_does_not_dress_up_a_bad_result(make_small: Make) -> None:
    low = {"best": Estimate(value=0.3), "next": Estimate(value=0.1)}
    assert "None of 2 arms keeps half" in verdict(_ranked(make_small, low)).sentence
    lost = {"best": Estimate(value=-0.3), "next": Estimate(value=-0.5)}
    assert verdict(_ranked(make_small, lost)).sentence == (
        "Every one of 2 arms loses all that was gained on some risk."
    )


def test_the_verdict_says_when_nothing_can_be_said(make_small: Make) -> None:
    nothing = verdict(_ranked(make_small, {"arm": Estimate(value=None, reason="no gain")}))
    assert nothing.sentence == "Nothing can be said about forgetting: there was no gain that could be kept."
    assert "Retention on toxicity is undefined: no gain." in nothing.details


def test_where_no_arm_competes_the_patches_are_held_against_the_base(make_small: Make) -> None:
    share = MetricValue(value=0.33, direction="higher", n=4, low=-0.02, high=0.6)
    alone = make_small({"base": BASE, "special": GOOD}, arms={"specialist": ("special",)})
    assert verdict(merge([alone])).sentence.startswith("No arm combines the risks")

    merged = merge([alone])
    special = merged.rows["special"]
    special = replace(special, metrics={"toxicity": special.metrics["toxicity"] | {REMOVED_SHARE: share}})
    special = replace(special, second={"toxicity": {REMOVED_SHARE: replace(share, value=0.1)}})
    merged = replace(merged, rows=merged.rows | {"special": special})
    merged = replace(merged, risks=(replace(merged.risks[0], second_judge="other"),))
    said = verdict(merged)
    assert said.sentence == "The patch removes 33% (\N{MINUS SIGN}2 to 60%) of toxicity."
    assert "On toxicity the interval holds zero." in said.details
    assert "By other, which chose no pairs, it is 10% (\N{MINUS SIGN}2 to 60%) of toxicity." in said.details
    heads = [column.name for column in tables.models(merged).columns]
    assert heads[1:4] == ["removed", "by other", "removed, by it"]
    assert not {"kept", "kept at least"} & set(heads)
    drawn = pictures(merged)
    assert drawn.retention is None
    assert drawn.levels is not None
    assert "special" in drawn.levels[0].alt


def test_the_verdict_warns_of_a_risk_that_the_base_hardly_shows(make_small: Make) -> None:
    run = make_small({"base": GOOD, "special": GOOD, "arm": GOOD}, arms={"arm": ("special", "arm")})
    assert any("hardly shows toxicity" in detail for detail in verdict(merge([run])).details)


def test_the_verdict_speaks_only_of_risks_with_a_clear_gain(make_results: Make) -> None:
    run = make_results(labels=("sequential",))
    missing = Estimate(value=None, reason="the specialist gained nothing over the base")
    kept = {"toxicity": missing, "bias": Estimate(value=0.75)}
    left_out = Estimate(value=0.75, reason="left out, without a clear gain of the specialist: toxicity")
    arms = tuple(replace(arm, retention=kept, worst_risk_retention=left_out) for arm in run.arms)
    said = verdict(merge([replace(run, arms=arms)]))
    assert said.sentence.endswith("keeps at least 75% of the gain on gender bias, the only risk with a clear one.")
    assert "Retention on toxicity is undefined: the specialist gained nothing over the base." in said.details
