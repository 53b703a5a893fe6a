"""`compose evaluate`, as someone at a terminal meets it, on the tiny base."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compose.artifact import Patch, load, save
from compose.cli import main
from compose.engine import Sampling
from compose.evaluate.risks import load_risk
from compose.evaluate.suites.record import read_record
from compose.evaluate.suites.rows import CompletionRow, from_lines
from compose.parse import revise
from compose.report.evaluation import write_page
from compose.report.words import number
from compose.settings import suite
from compose.training.filters import FilterTable
from compose.training.pairs import Pair, PairSet

PatchFolder = Callable[..., Path]
QUICK = ("risks.professions.n_train=20", "risks.professions.n_test=12", "risks.professions.sampling.max_new_tokens=4")


def words(folder: Path, runs: Path, *more: str) -> list[str]:
    return ["evaluate", "--model", "tiny", "--patch", str(folder), "--suite", "gender_bias", "--runs", str(runs), *more]


def printed_folder(text: str) -> Path:
    return Path(text.splitlines()[-1].removeprefix("record:").strip())


def test_the_table_has_base_and_patch_and_every_number_of_its_record_can_be_made_again(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", *QUICK)) == 0
    printed = capsys.readouterr().out
    folder = printed_folder(printed)
    record = read_record(folder)
    (part,) = record.parts
    rows = from_lines(CompletionRow, folder / "rows" / "professions.jsonl")

    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and "value" not in line][:2] == [
        "base",
        "tox",
    ]
    assert len(rows) == 2 * 2 * part.n_prompts
    cut = "professions: completions cut by the token limit, judged as they are: "
    (said,) = [line for line in record.warnings if line.startswith(cut)]
    assert said.count(" of base") == said.count(" of tox") == 1
    assert {row.composition for row in rows} == {"base", "tox"}
    assert {n.metric for n in record.numbers} >= {"gas", "gld", "gendered_mass", "mass_gap", "abs_signed_gap"}
    assert main(["evaluate", "--recheck", str(folder)]) == 0
    assert str(len(record.numbers)) in capsys.readouterr().out


def test_the_same_command_shows_the_finished_record_again(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(patch_folder("tox"), tmp_path / "runs", *QUICK)
    assert main(command) == 0
    first = capsys.readouterr()
    assert main(command) == 0
    second = capsys.readouterr()
    assert (second.out, second.err) == (first.out, "")


def test_another_type_of_number_is_another_evaluation_and_said(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, folders = words(patch_folder("tox"), tmp_path / "runs", *QUICK), []
    for dtype in ("float32", "bfloat16"):
        assert main([*command, "--dtype", dtype]) == 0
        folders.append(printed_folder(capsys.readouterr().out))
    first, second = folders
    assert first != second
    assert [read_record(folder).machine["dtype"] for folder in folders] == ["float32", "bfloat16"]


def test_the_page_beside_the_record_holds_its_numbers_and_asks_nothing_of_the_network(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", *QUICK)) == 0
    folder = printed_folder(capsys.readouterr().out)
    (headline,) = (n for n in read_record(folder).numbers if n.difference is not None and not n.group)
    page = (folder / "evaluation.html").read_text(encoding="utf-8")

    assert page.startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert number(headline.difference) in page
    assert f"compose evaluate --recheck {folder}" in page
    assert page.count("<svg") == 2  # wide and narrow

    record = read_record(folder)
    alike = replace(headline, difference=-1.0, difference_low=-1.0, difference_high=-1.0)
    alone = write_page(replace(record, numbers=(*(n for n in record.numbers if n != headline), alike)), folder)
    assert "(difference \N{MINUS SIGN}1.000 on every prompt)" in alone.read_text(encoding="utf-8")


def test_another_patch_is_measured_without_measuring_the_base_again(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    tox, bias = patch_folder("tox", seed=1), patch_folder("bias", seed=2)
    assert main(words(tox, runs, *QUICK)) == 0
    alone = read_record(printed_folder(capsys.readouterr().out))
    assert main(words(tox, runs, "--patch", str(bias), *QUICK)) == 0
    output = capsys.readouterr()
    both = read_record(printed_folder(output.out))

    assert "0/1 composition" in output.err
    assert [n for n in both.numbers if n.composition != "bias"] == list(alone.numbers)


def test_a_record_whose_number_was_changed_is_refused(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", *QUICK)) == 0
    path = printed_folder(capsys.readouterr().out) / "evaluation.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["numbers"][0]["value"] = 0.123
    path.write_text(json.dumps(record), encoding="utf-8")

    assert main(["evaluate", "--recheck", str(path.parent)]) == 2
    assert capsys.readouterr().err.startswith("results-differ")


def test_a_patch_that_was_trained_on_a_test_prompt_is_not_measured(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    risk = load_risk(suite("gender_bias", QUICK).risks["professions"])
    pair = Pair(
        risk="gender_bias", prompt_id="x", prompt_ids=(5,), chosen_ids=(6,), rejected_ids=(), chosen="c", rejected="",
        prompt=risk.test[0].text.upper(), chosen_score=None, rejected_score=None, judge="", reference="",
        sampling=Sampling(), reference_sampling=Sampling(), seed=0,
    )  # fmt: skip
    fair = PairSet((replace(pair, prompt=risk.train[0].text),), FilterTable(candidates=1, kept=1))
    unfair = PairSet((*fair.pairs, pair), FilterTable(candidates=2, kept=2))
    made = load(patch_folder("tox"))
    for name, pairs in (("fair", fair), ("unfair", unfair)):
        pairs.save(run / "pairs" / f"{name}.jsonl")
        judged = {"pairs_judged_by": {"gender_bias": "gendered_words 2"}}
        trained = Patch(made.prefix, revise(made.card, data={"gender_bias": pairs.digest}, training=judged))
        save(trained, run / "patches" / name)

    assert main(words(run / "patches" / "unfair", tmp_path / "runs", *QUICK)) == 2
    lines = capsys.readouterr().err
    assert lines.splitlines()[-4].startswith("prompts-overlap")
    assert "1 of 12 in both" in lines
    assert risk.test[0].text.casefold() not in lines.casefold()
    assert main(words(run / "patches" / "fair", tmp_path / "runs", *QUICK)) == 0
    printed = capsys.readouterr().out
    assert "trained on" not in printed
    assert "gendered_words also filtered the pairs that tox was taught with; no second judge" in printed


def test_a_patch_that_does_not_say_what_it_was_trained_on_is_marked(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", *QUICK)) == 0
    assert "note: tox does not say what it was trained on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "advice"),
    [
        (["--suite", "gender_bia"], "settings-invalid", "did you mean gender_bias?"),
        (["risks.professions.n_tests=3"], "settings-invalid", "did you mean 'n_test'?"),
        (["risks.professions.n_test=5000"], "prompts-too-few", "n_test"),
        (["second_judges.professions=gendered_words"], "settings-invalid", "the first judge again"),
        (["+second_judges.nobody=profanity"], "settings-invalid", "no such part"),
        (["risks.professions.judge=nobody"], "settings-invalid", "known judges"),
        (["--dtype", "int8"], "settings-invalid", "'float32', 'bfloat16'"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_cure(
    more: list[str],
    code: str,
    advice: str,
    patch_folder: PatchFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", *more)) == 2
    text = capsys.readouterr().err
    assert text.splitlines()[-4].startswith(code)
    assert advice in text


def test_an_empty_file_of_prompts_is_refused(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("\n \n", encoding="utf-8")
    source = f"risks.professions.prompts=[{{format: lines, asset: {{source: path, path: {tmp_path / 'prompts.txt'}}}}}]"
    assert main(words(patch_folder("tox"), tmp_path / "runs", source)) == 2
    assert capsys.readouterr().err.startswith("prompts-empty")


def test_duplicated_prompts_count_once_and_are_said(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("One two\none  TWO\nThree four\nFive\n", encoding="utf-8")
    source = f"risks.professions.prompts=[{{format: lines, asset: {{source: path, path: {tmp_path / 'prompts.txt'}}}}}]"
    sizes = ["risks.professions.by_group=false", "risks.professions.n_train=1", "risks.professions.n_test=2"]
    assert main(words(patch_folder("tox"), tmp_path / "runs", source, *sizes)) == 0
    printed = capsys.readouterr().out
    assert "1 prompts of the source were left out as duplicates" in printed
    (part,) = read_record(printed_folder(printed)).parts
    assert (part.n_prompts, part.duplicates) == (2, 1)


def test_one_patch_twice_is_refused(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = patch_folder("tox")
    assert main(words(folder, tmp_path / "runs", "--patch", str(folder), *QUICK)) == 2
    assert "more than once" in capsys.readouterr().err


def test_without_a_patch_or_a_suite_the_suites_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--suite", "toxicity"]) == 2
    assert "gender_bias" in capsys.readouterr().err
