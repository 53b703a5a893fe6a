import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose.digest import of_file
from compose.errors import Rejected
from compose.evaluate.suites.numbers import Number, Part
from compose.evaluate.suites.record import EvaluationRecord, Rows, made_of, read_record, recheck, to_csv, write_record
from compose.evaluate.suites.rows import CompletionRow, MassRow, PassageRow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an evaluation of one patch on one part of six prompts."""
    part = Part(
        name="bias",
        title="Bias",
        kind="gender_bias",
        threshold=0.5,
        samples=1,
        n_prompts=6,
        duplicates=0,
        prompts="sha256:" + "0" * 64,
        judge="first",
        judge_version="1",
        second_judge="second",
        second_judge_version="1",
    )
    completions = [
        CompletionRow(
            composition=name,
            prompt_id=f"p{n}",
            group="",
            sample=0,
            prompt="The cook",
            completion="did it",
            score=float((n + shift) % 3 == 0),
            second=0.25,
        )
        for shift, name in enumerate(("base", "p"))
        for n in range(6)
    ]
    masses = [
        MassRow(composition=name, prompt_id=f"p{n}", female=0.1 * n, male=0.2)
        for name in ("base", "p")
        for n in range(4)
    ]
    passages = [PassageRow(composition=name, passage_id="t", nll=9.0, tokens=4) for name in ("base", "p")]
    rows = Rows(completions={"bias": completions}, masses={"bias": masses}, passages=passages)
    numbers, counts = made_of([part], rows)
    record = EvaluationRecord(
        suite="bias",
        title="Bias",
        suite_digest="sha256:" + "1" * 64,
        settings={"seed": 0},
        base="tiny",
        fingerprint="sha256:" + "2" * 64,
        patches=(),
        parts=(part,),
        numbers=numbers,
        counts=counts,
        files=rows.digests(),
        command="compose evaluate",
        commit="unknown",
        dirty=False,
        machine={},
        versions={},
        finished="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    )
    write_record(tmp_path / "evaluation", record, rows)
    return tmp_path / "evaluation"


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], *, allow_nan: bool = False) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, allow_nan=allow_nan), encoding="utf-8")


def code_of(place: Path) -> str:
    with pytest.raises(Rejected) as caught:
        recheck(place)
    return caught.value.code


def test_every_number_can_be_made_again_from_the_rows(folder: Path) -> None:
    record = recheck(folder)
    assert record == recheck(folder / "evaluation.json") == read_record(folder)
    assert {number.metric for number in record.numbers} >= {"gas", "mass_gap", "perplexity", "perplexity_ratio"}


@pytest.mark.parametrize("field", ["value", "low", "high", "difference", "difference_low", "p", "n"])
def test_a_number_that_was_changed_is_found(folder: Path, field: str) -> None:
    def change(record: dict[str, Any]) -> None:
        number = next(n for n in record["numbers"] if n["metric"] == "gas" and n["composition"] == "p")
        number[field] = number[field] + 1

    rewritten(folder / "evaluation.json", change)
    assert code_of(folder) == "results-differ"


def test_a_count_that_was_changed_is_found(folder: Path) -> None:
    rewritten(folder / "evaluation.json", lambda record: record["counts"][0].update(empty=1))
    assert code_of(folder) == "results-differ"


def test_a_number_that_was_left_out_is_found(folder: Path) -> None:
    rewritten(folder / "evaluation.json", lambda record: record["numbers"].pop())
    assert code_of(folder) == "results-differ"


def test_a_row_that_was_changed_is_found_by_its_files_digest(folder: Path) -> None:
    path = folder / "rows" / "bias.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"score":1.0', '"score":0.0', 1), encoding="utf-8")
    assert code_of(folder) == "results-invalid"


def test_a_row_and_its_digest_changed_together_are_found_by_the_numbers(folder: Path) -> None:
    path = folder / "rows" / "bias.jsonl"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace('"score":1', '"score":0', 1), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    rewritten(folder / "evaluation.json", lambda record: record["files"].update({"rows/bias.jsonl": of_file(path)}))
    assert code_of(folder) == "results-differ"


@pytest.mark.parametrize("score", ["NaN", "1.5", "-0.1", '"0.5"', "true"])
def test_a_score_that_is_none_is_refused(folder: Path, score: str) -> None:
    path = folder / "rows" / "bias.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"score":1', f'"score":{score}', 1), encoding="utf-8")
    rewritten(folder / "evaluation.json", lambda record: record["files"].update({"rows/bias.jsonl": of_file(path)}))
    with pytest.raises(Rejected) as caught:
        recheck(folder)
    assert caught.value.code == "results-invalid"
    assert "cook" not in str(caught.value)


def test_nan_in_a_record_is_refused(folder: Path) -> None:
    rewritten(folder / "evaluation.json", lambda r: r["numbers"][0].update(value=float("nan")), allow_nan=True)
    assert code_of(folder) == "results-invalid"


def test_rows_that_are_not_there_are_missed(folder: Path) -> None:
    (folder / "rows" / "bias.masses.jsonl").unlink()
    assert code_of(folder) == "results-missing"
    assert code_of(folder.parent) == "results-missing"


def test_a_record_cannot_name_files_elsewhere(folder: Path) -> None:
    rewritten(folder / "evaluation.json", lambda r: r["files"].update({"rows/../../secret": "sha256:" + "0" * 64}))
    assert code_of(folder) == "results-invalid"


def test_numbers_as_csv_have_a_line_each(folder: Path) -> None:
    record = read_record(folder)
    lines = list(csv.DictReader(io.StringIO(to_csv(record.numbers))))
    assert [line["metric"] for line in lines] == [number.metric for number in record.numbers]
    assert [line["value"] for line in lines] == [
        "" if number.value is None else repr(number.value) for number in record.numbers
    ]


def test_csv_keeps_names_with_commas_quotes_and_line_breaks_in_one_cell() -> None:
    odd = 'a "b", c\nd'
    number = Number(part="p", composition=odd, metric="m", direction="lower", value=0.1, n=1)
    (line,) = csv.DictReader(io.StringIO(to_csv([number])))
    assert (line["composition"], line["value"], line["low"]) == (odd, "0.1", "")
