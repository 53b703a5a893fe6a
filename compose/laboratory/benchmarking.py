"""A benchmark: the base and some patches on the questions of lm-eval's tasks, written down whole."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from compose import durable
from compose.base import Base, arithmetic, load_base
from compose.base_spec import BaseSpec
from compose.digest import of_json
from compose.engine.patched import PatchedModel
from compose.errors import Rejected
from compose.evaluate.benchmark.ask import Answers, ask
from compose.evaluate.benchmark.model import EngineLM, room_for
from compose.evaluate.benchmark.record import (
    BenchmarkRecord,
    BenchmarkSpec,
    digest_of_rows,
    numbers_of,
    refuse_other_questions,
    write_record,
)
from compose.evaluate.benchmark.tasks import load_tasks
from compose.evaluate.results import BASE
from compose.evaluate.suites.record import to_csv
from compose.laboratory import provenance
from compose.laboratory.evaluating import KEY_DIGITS, NUMBERS_FILE
from compose.laboratory.subjects import Subject, described, load_subjects

DATA_FOLDER = "mmlu"
"""Where MMLU lies below $COMPOSE_DATA."""


def benchmark(
    spec: BenchmarkSpec,
    model: BaseSpec,
    folders: Sequence[Path],
    runs: Path,
    *,
    data: Path | None = None,
    device: str | None = None,
    command: str | None = None,
) -> Path:
    """Return the folder of the finished benchmark; one of the same settings and answers is written over.

    Args:
        spec: What is asked.
        model: The base.
        folders: The patches' folders.
        runs: The root of all runs.
        data: A folder of MMLU; `$COMPOSE_DATA/mmlu` when None and there is one, else lm-eval asks the hub.
        device: Where to compute.
        command: The command that repeats this; None takes this process's own.

    Raises:
        Rejected: What loading, the self-test, the tasks or the disk refuse.
    """
    subjects = load_subjects(folders)
    loaded = load_tasks(spec, data or _data_at_hand())  # before the base: a wrong name costs no minute
    base = load_base(model, device=device)
    models = {subject.name: PatchedModel(base, subject.patch) for subject in subjects}  # each proves itself active
    _refuse_no_template(base, spec)
    room = room_for(base, [subject.patch.card.tokens for subject in subjects])
    began = time.monotonic()
    answers: dict[str, Answers] = {}
    cut: dict[str, int] = {}
    systems: dict[str, Base | PatchedModel] = {BASE: base, **models}
    for name, one in systems.items():
        asker = EngineLM(one, room=room, label=name, seed=spec.seed)
        answers[name] = ask(name, asker, loaded, spec)
        cut[name] = asker.cut
    refuse_other_questions({name: found.rows for name, found in answers.items()})
    rows = [row for found in answers.values() for row in found.rows]
    commit, dirty = provenance.commit()
    record = BenchmarkRecord(
        settings=spec,
        asked=loaded.asked,
        base=base.name,
        fingerprint=base.fingerprint,
        patches=tuple(described(subject) for subject in subjects),
        room=room,
        numbers=numbers_of(loaded.asked, rows),
        aggregates=tuple(one for found in answers.values() for one in found.aggregates),
        rows=digest_of_rows(rows),
        warnings=tuple(_noticed(spec, subjects, cut)),
        command=command or provenance.command_line(),
        commit=commit,
        dirty=dirty,
        machine=provenance.machine(base),
        versions={**provenance.versions(), "lm_eval": version("lm_eval")},
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )
    folder = runs / "benchmarks" / _key(record, base)
    with durable.locked(folder), durable.new_folder(folder, replace=True) as made:
        durable.write_text(made / NUMBERS_FILE, to_csv(record.numbers))
        write_record(made, record, rows)
    return folder


def _data_at_hand() -> Path | None:
    """Return the folder of MMLU below $COMPOSE_DATA, where there is one."""
    root = os.environ.get("COMPOSE_DATA", "")
    folder = Path(root) / DATA_FOLDER
    return folder if root and folder.is_dir() else None


def _key(record: BenchmarkRecord, base: Base) -> str:
    """Return the folder's name: the first task, and a digest of what was asked and answered."""
    first = "".join(letter if letter.isalnum() else "_" for letter in record.settings.tasks[0])
    said = {"rows": record.rows, "arithmetic": arithmetic(base), "patches": [one.prefix for one in record.patches]}
    return f"{first}-{of_json(said).removeprefix('sha256:')[:KEY_DIGITS]}"


def _refuse_no_template(base: Base, spec: BenchmarkSpec) -> None:
    """Refuse chat with a base that has no template."""
    if spec.chat and base.tokenizer.chat_template is None:
        raise Rejected(
            "settings-invalid",
            subject=f"--chat with {base.name}",
            expected="a base with a chat template",
            got="none",
            fix="leave --chat out, or take a base that was tuned for chat",
        )


def _noticed(spec: BenchmarkSpec, subjects: Sequence[Subject], cut: dict[str, int]) -> Iterator[str]:
    """Yield what a reader must know."""
    if spec.limit is not None:
        yield f"only the first {spec.limit} questions of each task were asked"
    for name, count in cut.items():
        if count:
            yield f"{count} contexts of {name} were too long for the base and lost their beginning"
    for subject in subjects:
        if subject.patch.card.self_test is None:
            yield f"{subject.name} is active, but its card records no logits that would prove it right"
