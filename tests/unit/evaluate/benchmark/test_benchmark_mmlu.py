"""MMLU from a folder: what is read, what is refused, and that it is asked in lm-eval's own words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from compose.errors import Rejected
from compose.evaluate.benchmark import mmlu

HEAD = "question,choice0,choice1,choice2,choice3,answer\n"


def folder_with(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "test" / "anatomy_test.csv"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_question_keeps_its_commas_lines_and_empty_looking_choices(tmp_path: Path) -> None:
    text = HEAD + '"Two lines,\nand a comma",None,nan,"a, b",,2\n'

    assert mmlu.read(folder_with(tmp_path, text), "anatomy", "test") == [
        {"question": "Two lines,\nand a comma", "choices": ["None", "nan", "a, b", ""], "answer": 2}
    ]


def test_a_separator_that_is_no_end_of_line_ends_no_row(tmp_path: Path) -> None:
    text = HEAD + "What is\u2028this\x85?,a,b,c,d,0\n"

    assert mmlu.read(folder_with(tmp_path, text), "anatomy", "test")[0]["question"] == "What is\u2028this\x85?"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("question,A,B,C,D,answer\nx,a,b,c,d,1\n", "columns question, A"),
        (HEAD + "x,a,b,c,d,4\n", "another kind of row"),
        (HEAD + "x,a,b,c,d,A\n", "another kind of row"),
        (HEAD + "x,a,b,c,d\n", "another kind of row"),
        (HEAD + "x,a,b,c,d,1,more\n", "another kind of row"),
        (HEAD + " ,a,b,c,d,1\n", "another kind of row"),
        (HEAD + 'x,"a,b,c,d,1\n', "line"),
        (HEAD, "no question"),
        ("", "columns none"),
    ],
)
def test_what_is_no_question_is_refused_without_being_shown(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(Rejected, match="prompts-unreadable") as refused:
        mmlu.read(folder_with(tmp_path, text), "anatomy", "test")
    assert found in refused.value.got


def test_a_folder_without_questions_and_a_subject_without_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="asset-missing"):
        mmlu.subjects(tmp_path)
    assert mmlu.subjects(folder_with(tmp_path, HEAD + "x,a,b,c,d,1\n")) == ["anatomy"]
    with pytest.raises(Rejected, match="prompts-unreadable"):
        mmlu.read(tmp_path, "anatomy", "dev")


def test_the_digest_is_of_both_files(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, HEAD + "x,a,b,c,d,1\n")
    examples = folder / "dev" / "anatomy_dev.csv"
    examples.parent.mkdir()
    digests = []
    for answer in (1, 2):
        examples.write_text(f"{HEAD}y,a,b,c,d,{answer}\n", encoding="utf-8")
        digests.append(mmlu.digest(folder, "anatomy"))

    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("group", "place", "template"),
    [
        ("mmlu", "default", "_default_template_yaml"),
        ("mmlu_continuation", "continuation", "_continuation_template_yaml"),
    ],
)
def test_every_subject_is_asked_in_the_words_of_lm_evals_own_files(group: str, place: str, template: str) -> None:
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        pytest.skip("the extra `benchmark` is not installed (make benchmark)")
    theirs = Path(found.origin).parent / "tasks" / "mmlu" / place
    shared = yaml.safe_load((theirs / template).read_text(encoding="utf-8"))
    files = sorted(theirs.glob("mmlu_*.yaml"))
    instead_of_data = {"dataset_path", "dataset_name", "tag", "include", "task_alias"}

    assert len(files) == 57
    for file in files:
        own = yaml.safe_load(file.read_text(encoding="utf-8"))
        expected = {key: value for key, value in {**shared, **own}.items() if key not in instead_of_data}
        ours = mmlu.task(Path("anywhere"), mmlu.Local(own["dataset_name"], group))
        del ours["custom_dataset"]
        assert ours == expected
