"""MMLU from a folder on this disk, asked in both of lm-eval's ways (Hendrycks et al. 2020, 2009.03300).

`mmlu` shows the four choices and reads off the likelihoods of their letters; `mmlu_continuation` compares the
likelihoods of the four answers themselves, without showing them. Small models answer one letter to nearly everything,
so only the second tells what a patch costs them.

The folder holds `test/<subject>_test.csv` and `dev/<subject>_dev.csv`, with the columns question, choice0 to choice3
and answer (0 to 3). `dev` gives the examples of few-shot prompts.
"""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from compose.digest import of_file, of_json
from compose.errors import Rejected

GROUP = "mmlu"
ENDINGS = {GROUP: "", f"{GROUP}_continuation": "_continuation"}
"""lm-eval's groups, and how the names of their subjects' tasks end."""
SPLITS = ("test", "dev")
COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
LETTERS = ("A", "B", "C", "D")


class Local(NamedTuple):
    """A task that a folder can give: one subject, asked as one of lm-eval's groups asks it."""

    subject: str
    group: str

    @property
    def name(self) -> str:
        """Return lm-eval's name of the task."""
        return f"{GROUP}_{self.subject}{ENDINGS[self.group]}"


def local_tasks(folder: Path) -> list[Local]:
    """Return every task of a folder: both groups, subjects in alphabetical order.

    Raises:
        Rejected: `asset-missing` when there are none.
    """
    found = subjects(folder)
    return [Local(subject, group) for group in ENDINGS for subject in found]


def subjects(folder: Path) -> list[str]:
    """Return the subjects of a folder, in alphabetical order.

    Raises:
        Rejected: `asset-missing` when it has none.
    """
    found = sorted(path.name.removesuffix("_test.csv") for path in (folder / "test").glob("*_test.csv"))
    if not found:
        raise Rejected(
            "asset-missing",
            subject=str(folder),
            expected="MMLU as CSV files: test/<subject>_test.csv and dev/<subject>_dev.csv",
            got="no such files" if folder.is_dir() else "no such folder",
            fix="name the folder that holds them (--data), or leave it out: lm-eval then asks the HF hub",
        )
    return found


def task(folder: Path, local: Local) -> dict[str, Any]:
    """Return lm-eval's task of one subject with the questions of a folder; lm-eval's name, wording and metrics."""
    about = local.subject.replace("_", " ")
    shared = {
        "task": local.name,
        "custom_dataset": partial(_dataset, folder, local.subject),
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice",
        "metadata": {"version": 1.0},
    }
    if local.group != GROUP:
        return shared | {
            "description": f"The following are questions (with answers) about {about}.\n\n",
            "doc_to_text": "Question: {{question.strip()}}\nAnswer:",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
        }
    choices = "\n".join(f"{letter}. {{{{choices[{place}]}}}}" for place, letter in enumerate(LETTERS))
    return shared | {
        "description": f"The following are multiple choice questions (with answers) about {about}.\n\n",
        "doc_to_text": f"{{{{question.strip()}}}}\n{choices}\nAnswer:",
        "doc_to_choice": list(LETTERS),
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def digest(folder: Path, subject: str) -> str:
    """Return the digest of one subject's files."""
    return of_json([of_file(_path(folder, subject, split)) for split in SPLITS])


def read(folder: Path, subject: str, split: str) -> list[dict[str, Any]]:
    """Return the questions of one file: question, four choices, and the index of the right one.

    Raises:
        Rejected: `asset-missing`; `prompts-unreadable` for a file of other columns, an answer outside 0 to 3 or a
            question without words.
    """
    path = _path(folder, subject, split)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    # str.splitlines would end a row at U+2028 and the like, which real questions hold.
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise _unreadable(path, f"columns {', '.join(lines.fieldnames or ()) or 'none'}")
        for line in lines:
            cells = [line[name] for name in COLUMNS]
            if None in cells or None in line or cells[-1] not in ("0", "1", "2", "3") or not cells[0].strip():
                raise _unreadable(path, f"another kind of row before line {lines.line_num + 1}")
            rows.append({"question": cells[0], "choices": cells[1:5], "answer": int(cells[5])})
    except csv.Error as error:
        raise _unreadable(path, f"line {lines.line_num}: {error}") from error
    if not rows:
        raise _unreadable(path, "no question")
    return rows


def _path(folder: Path, subject: str, split: str) -> Path:
    return folder / split / f"{subject}_{split}.csv"


def _dataset(folder: Path, subject: str, **_: object) -> dict[str, Any]:
    """Return both splits as lm-eval takes them; it hands over a task's metadata, which say nothing here."""
    from datasets import Dataset

    return {split: Dataset.from_list(read(folder, subject, split)) for split in SPLITS}


def _unreadable(path: Path, got: str) -> Rejected:
    return Rejected(
        "prompts-unreadable",
        subject=str(path),
        expected=f"UTF-8 CSV with the columns {', '.join(COLUMNS)}, the answer from 0 to 3",
        got=got,
        fix="get the file again, or name another folder (--data)",
    )
