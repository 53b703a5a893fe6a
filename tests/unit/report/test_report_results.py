"""A run's record survives the disk unchanged, and a damaged or contradictory one is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compose.errors import Rejected
from compose.report.consistency import problems
from compose.report.results import (
    CurvePoint,
    MetricValue,
    RunResults,
    read_results,
    write_results,
)
from compose.report.samples import read_records

Make = Callable[..., RunResults]


def test_what_is_written_is_read_back_equal(tmp_path: Path, make_results: Make) -> None:
    run = make_results()
    write_results(tmp_path / "results.json", run)
    assert read_results(tmp_path) == run
    assert read_results(tmp_path / "results.json") == run


def test_a_folder_without_results_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        read_results(tmp_path)
    assert refused.value.code == "results-missing"
    assert refused.value.subject == str(tmp_path / "results.json")


def _edited(tmp_path: Path, run: RunResults, edit: Callable[[dict[str, Any]], None]) -> Path:
    write_results(tmp_path / "results.json", run)
    values = json.loads((tmp_path / "results.json").read_text())
    edit(values)
    (tmp_path / "results.json").write_text(json.dumps(values))
    return tmp_path


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "surprise": lambda values: values.update(surprise=1),
    "seed": lambda values: values.pop("seed"),
    "commit": lambda values: values.update(commit=None),
    "dirty": lambda values: values.update(dirty="no"),
    "schema": lambda values: values.update(schema=2),
    "base.risks.toxicity.safety.0": lambda values: values["compositions"]["base"]["risks"]["toxicity"].update(
        safety=["1", 1, 1, 1]
    ),
}


@pytest.mark.parametrize("place", EDITS)
def test_an_unknown_missing_or_mistyped_key_is_refused_by_name(tmp_path: Path, make_small: Make, place: str) -> None:
    folder = _edited(tmp_path, make_small({"base": (0.0, 1.0, 1.0, 0.0)}), EDITS[place])
    with pytest.raises(Rejected) as refused:
        read_results(folder)
    assert refused.value.code == "results-invalid"
    assert place in refused.value.got


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": NaN}', '{"seed": 1, "seed": 2}', "[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(Rejected) as refused:
        read_results(tmp_path)
    assert refused.value.code == "results-invalid"


def test_an_infinite_number_is_refused_when_the_record_is_made() -> None:
    with pytest.raises(ValueError, match="finite"):
        MetricValue(value=float("inf"), direction="lower", n=1)


def test_every_contradiction_is_named(make_small: Make) -> None:
    run = make_small({"base": (0.0, 1.0), "special": (1.0, 1.0)}, arms={"arm": ("special",)})
    assert problems(run) == []

    wrong_mean = replace(run, arms=(replace(run.arms[0], R=((0.25,),)),))
    assert problems(wrong_mean) == ["arm 'arm': R[special][toxicity] is not the mean of the recorded safety"]

    unknown = replace(run, arms=(replace(run.arms[0], stages=("nothing",)),), base_composition="none")
    assert problems(unknown) == [
        "composition 'none' is named but not measured",
        "arm 'arm': stages ['nothing'] are not measured",
    ]

    measure = replace(run.compositions["base"].risks["toxicity"], prompt_ids=("p0", "p0"), safety=(2.0, 1.0))
    base = replace(run.compositions["base"], risks={"toxicity": measure})
    assert problems(replace(run, compositions={**run.compositions, "base": base})) == [
        "composition 'base', risk 'toxicity': a prompt is listed twice",
        "composition 'base', risk 'toxicity': safety outside [0, 1]",
    ]

    lost = CurvePoint(arm="arm", stage=1, step=0, risk="toxicity", safety=0.5, n=1)
    assert problems(replace(run, curves=(lost,))) == [
        "a curve point of 'arm', stage 1, risk 'toxicity' belongs nowhere"
    ]


def test_a_risk_whose_name_is_a_path_is_refused(tmp_path: Path, make_small: Make) -> None:
    run = make_small({"base": (0.0, 1.0)})
    measure = run.compositions["base"].risks["toxicity"]
    evil = replace(
        run,
        risks=(replace(run.risks[0], name="../x"),),
        compositions={"base": replace(run.compositions["base"], risks={"../x": measure})},
    )
    with pytest.raises(Rejected, match="no name for a risk"):
        write_results(tmp_path / "results.json", evil)


def test_records_are_read_line_by_line_with_keys_beyond_the_known_ones(make_run: Callable[..., Path]) -> None:
    rows = list(read_records(make_run(), "toxicity"))
    assert (rows[0].composition, rows[0].sample, rows[0].prompt_id) == ("base", 0, "toxicity-000")


def test_a_run_that_kept_no_texts_has_no_records(tmp_path: Path) -> None:
    assert list(read_records(tmp_path, "toxicity")) == []


def test_a_broken_record_is_refused_without_repeating_its_text(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "toxicity.jsonl").write_text('{"prompt": "never shown"}\n')
    with pytest.raises(Rejected) as refused:
        list(read_records(tmp_path, "toxicity"))
    assert "line 1" in refused.value.got
    assert "never shown" not in str(refused.value)
