"""`compose benchmark`, as someone at a terminal meets it, on the tiny base and a few questions of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="the extra `benchmark` is not installed (make benchmark)")

from compose.artifact import Patch, load, save
from compose.base import Base
from compose.cli import main
from compose.evaluate.benchmark.record import ROWS_FILE, BenchmarkRow, read_record
from compose.evaluate.suites.rows import from_lines
from compose.parse import revise

PatchFolder = Callable[..., Path]
HEAD = "question,choice0,choice1,choice2,choice3,answer"
OWN_TASK = """
task: colours
custom_dataset: !function questions.colours
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 6}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: first-word
    filter: [{function: take_first}]
metadata: {version: 3}
"""
OWN_CODE = """
from datasets import Dataset
def colours(**_):
    return {"test": Dataset.from_list([{"question": f"Colour {n} is", "answer": "red"} for n in range(5)])}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder like MMLU's: six questions of one subject, four of another, two examples each."""
    folder = tmp_path / "mmlu"
    for split, counts in {
        "test": {"anatomy": 6, "world_religions": 4},
        "dev": {"anatomy": 2, "world_religions": 2},
    }.items():
        (folder / split).mkdir(parents=True)
        for subject, count in counts.items():
            lines = [f"Which {subject} of {split} is number {n}?,one,two,three,{n},{n % 4}" for n in range(count)]
            (folder / split / f"{subject}_{split}.csv").write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
    return folder


def words(patch: Path, runs: Path, *more: str | Path) -> list[str]:
    return ["benchmark", "--model", "tiny", "--patch", str(patch), "--runs", str(runs), *map(str, more)]


def printed_folder(text: str) -> Path:
    return Path(text.splitlines()[-1].removeprefix("record:").strip())


def test_base_and_patch_answer_the_same_questions_and_every_number_can_be_made_again(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu", "--data", data, "--limit", "5")) == 0
    printed = capsys.readouterr().out
    folder = printed_folder(printed)
    record = read_record(folder)
    rows = from_lines(BenchmarkRow, folder / ROWS_FILE)
    base, tox = ([row for row in rows if row.composition == name] for name in ("base", "tox"))

    assert len(base) == len(tox) == 5 + 4
    assert [row.request for row in base] == [row.request for row in tox]
    assert [row.responses for row in base] != [row.responses for row in tox]
    for row in rows:
        scores = [score for ((score, _greedy),) in row.responses]
        best = scores.index(max(scores))
        assert row.metrics == {"acc": float(best == row.question % 4)}
    assert {number.part for number in record.numbers} == {"all", "mmlu_anatomy", "mmlu_world_religions"}
    assert [n.n for n in record.numbers if n.part == "all"] == [9, 9]
    assert "McNemar p" in printed
    assert "note: only the first 5 questions of each task were asked" in printed
    assert main(["benchmark", "--recheck", str(folder)]) == 0
    assert "6 numbers" in capsys.readouterr().out


def test_of_many_tasks_a_terminal_shows_what_they_have_together(
    patch_folder: PatchFolder,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compose.report.benchmark.MOST_TASKS", 1)
    assert main(words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu", "--data", data)) == 0
    printed = capsys.readouterr().out
    assert "all: acc" in printed
    assert "mmlu_anatomy" not in printed
    assert "the numbers of each of the 2 tasks are in numbers.csv" in printed
    assert "mmlu_anatomy" in (printed_folder(printed) / "numbers.csv").read_text(encoding="utf-8")


def test_continuations_are_scored_without_showing_the_choices(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu_continuation", "--data", data)
    assert main(command) == 0
    folder = printed_folder(capsys.readouterr().out)
    record = read_record(folder)

    assert [one.name for one in record.asked] == ["mmlu_anatomy_continuation", "mmlu_world_religions_continuation"]
    assert {number.metric for number in record.numbers} == {"acc", "acc_norm"}
    rows = from_lines(BenchmarkRow, folder / ROWS_FILE)
    assert len(rows) == 2 * (6 + 4)
    assert all(len(row.responses) == 4 for row in rows)


def test_the_same_command_gives_the_same_record_and_other_wordings_another(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu_anatomy", "--data", data)
    folders = []
    for more in ([], [], ["--shots", "2"], ["--chat"]):
        assert main([*command, *more]) == 0
        folders.append(printed_folder(capsys.readouterr().out))
    first, again, shown, chat = folders
    requests = [{row.request for row in from_lines(BenchmarkRow, folder / ROWS_FILE)} for folder in folders]

    assert first == again
    assert read_record(shown).asked[0].shots == 2
    assert read_record(chat).settings.chat
    assert len(requests[0]) == 6
    assert len(requests[0] | requests[2] | requests[3]) == 18


def test_a_task_of_ones_own_that_writes_text(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "tasks"
    own.mkdir()
    (own / "colours.yaml").write_text(OWN_TASK, encoding="utf-8")
    (own / "questions.py").write_text(OWN_CODE, encoding="utf-8")
    assert main(words(patch_folder("tox"), tmp_path / "runs", "--task", "colours", "--tasks-path", own)) == 0
    record = read_record(folder := printed_folder(capsys.readouterr().out))
    rows = from_lines(BenchmarkRow, folder / ROWS_FILE)

    assert [number.metric for number in record.numbers] == ["exact_match,first-word"] * 2
    assert record.asked[0].version == "3"
    assert len(rows) == 10
    assert all("." not in text for row in rows for (text,) in row.responses)


def test_a_patch_that_is_not_right_is_refused_before_anything_is_scored(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, other = load(patch_folder("tox", seed=1)), load(patch_folder("other", seed=2))
    wrong = Patch(sound.prefix, revise(sound.card, self_test=other.card.self_test))
    folder = save(wrong, tmp_path / "wrong")

    assert main(words(folder, tmp_path / "runs", "--task", "mmlu_anatomy", "--data", data)) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[0].startswith("self-test-failed")
    assert "contexts" not in said.err
    assert not (tmp_path / "runs").exists()


def test_a_changed_number_and_a_changed_row_are_noticed(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu_anatomy", "--data", data)
    assert main(command) == 0
    folder = printed_folder(capsys.readouterr().out)
    path = folder / "benchmark.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["numbers"][0]["value"] = 0.9
    path.write_text(json.dumps(record), encoding="utf-8")
    assert main(["benchmark", "--recheck", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-differ")

    rows = (folder / ROWS_FILE).read_text(encoding="utf-8")
    (folder / ROWS_FILE).write_text(rows.replace('"acc":0.0', '"acc":1.0', 1), encoding="utf-8")
    assert main(["benchmark", "--recheck", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-invalid")


@pytest.mark.parametrize(
    ("more", "code", "advice"),
    [
        (["--task", "mmlu_anatomy", "--limit", "0"], "settings-invalid", "limit"),
        (["--task", "mmlu_anatomy", "--shots", "-1"], "settings-invalid", "shots"),
        (["--task", "mmlu_anatomy", "--data", "nowhere"], "asset-missing", "--data"),
        (["--task", "x", "--tasks-path", "nowhere"], "benchmark-invalid", "name the folder"),
        ([], "settings-invalid", "--task mmlu_anatomy"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_cure(
    more: list[str],
    code: str,
    advice: str,
    patch_folder: PatchFolder,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", "--data", data, *more)) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-4].startswith(code)
    assert advice in said


def test_chat_needs_a_base_with_a_template(
    tiny: Base,
    patch_folder: PatchFolder,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", None)
    monkeypatch.setattr("compose.laboratory.benchmarking.load_base", lambda *_, **__: tiny)
    command = words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu_anatomy", "--data", data, "--chat")
    assert main(command) == 2
    assert "leave --chat out" in capsys.readouterr().err


def test_a_name_that_nobody_knows_is_refused_with_the_nearest(
    patch_folder: PatchFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(patch_folder("tox"), tmp_path / "runs", "--task", "mmlu_anatmy", "--data", data)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("benchmark-invalid: mmlu_anatmy")
    assert "mmlu_anatomy" in said
