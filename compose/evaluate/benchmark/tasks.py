"""Tasks by name: MMLU from a local folder, task files of one's own, or any of lm-eval's."""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api import task as lm_eval_task
from lm_eval.tasks import TaskManager

from compose.assets.cache import offline
from compose.errors import Rejected
from compose.evaluate.benchmark import mmlu
from compose.evaluate.benchmark.record import Asked, BenchmarkSpec, direction_of


@dataclass(frozen=True)
class LoadedTasks:
    """Tasks with their questions.

    Attributes:
        tasks: Name -> lm-eval's task.
        asked: What the record says of each, in the same order.
    """

    tasks: Mapping[str, Any]
    asked: tuple[Asked, ...]


def load_tasks(spec: BenchmarkSpec, data: Path | None) -> LoadedTasks:
    """Return the tasks that `spec` names.

    Args:
        spec: What is asked.
        data: A folder of MMLU; None leaves MMLU to lm-eval, which asks the HF hub.

    Raises:
        Rejected: `benchmark-invalid` for a name that nobody knows and a task that cannot be loaded, that runs code it
            generates, or that shows pictures; what `mmlu.read` refuses.
    """
    seed_everything(spec.seed)
    local = {} if data is None else {one.name: one for one in mmlu.local_tasks(data)}
    wanted: dict[str, Any] = {}
    sources: dict[str, str] = {}
    foreign = []
    for name in spec.tasks:
        for one in [task.name for task in local.values() if task.group == name] or [name]:
            if data is not None and one in local:
                wanted[one] = mmlu.task(data, local[one])
                sources[one] = f"local files, {mmlu.digest(data, local[one].subject)}"
            else:
                foreign.append(one)
    with quiet_lm_eval():
        tasks: dict[str, Any] = {}
        if wanted:
            tasks |= _loaded(TaskManager(include_defaults=False), list(wanted.values()))
        if foreign:
            tasks |= _loaded(*_found(foreign, spec.tasks_path, local))
    for name, task in tasks.items():
        _refuse_unanswerable(name, task)
        _set_shots(task, spec.shots)
    return LoadedTasks(tasks, tuple(_asked(name, task, sources.get(name)) for name, task in tasks.items()))


def seed_everything(seed: int) -> None:
    """Seed the generators that tasks of lm-eval draw from, as its own `simple_evaluate` does."""
    random.seed(seed)
    np.random.seed(seed)


def _found(names: Sequence[str], own: str | None, local: Mapping[str, mmlu.Local]) -> tuple[TaskManager, list[str]]:
    """Return a manager that knows the names, and the names with patterns resolved; lm-eval's own index is slow."""
    if own is not None and not Path(own).is_dir():
        raise _invalid(f"--tasks-path {own}", "a folder of task files", "no such folder", "name the folder")
    for defaults in (False, True) if own is not None else (True,):
        manager = TaskManager(include_path=own, include_defaults=defaults)
        found = [name for pattern in names for name in manager.match_tasks([pattern])]
        missing = [pattern for pattern in names if not manager.match_tasks([pattern])]
        if not missing:
            return manager, list(dict.fromkeys(found))
    near = difflib.get_close_matches(missing[0], {*manager.all_tasks, *local}, n=3)
    raise _invalid(
        missing[0],
        "the name of a task of lm-eval, of --tasks-path or, with --data, of MMLU: mmlu, mmlu_<subject>, "
        "either with _continuation",
        "no such task",
        f"did you mean {' or '.join(near)}?" if near else "see `lm-eval ls tasks`",
    )


def _loaded(manager: TaskManager, specs: list[Any]) -> dict[str, Any]:
    """Return the leaf tasks of names and configurations. What a task's file does while it loads is its own code."""
    try:
        with _network_as_allowed():
            found: dict[str, Any] = manager.load(specs)["tasks"]
    except Rejected:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        shown = ", ".join(spec if isinstance(spec, str) else spec["task"] for spec in specs)
        raise _invalid(
            f"task {shown}",
            "a task of lm-eval whose questions can be loaded",
            f"{type(error).__name__}: {reason[0]}",
            "for MMLU name a local folder (--data); else see that its data set is at hand, or correct its file",
        ) from error
    return found


def _refuse_unanswerable(name: str, task: Any) -> None:
    """Refuse tasks that would execute what a model wrote, or that need more than text."""
    if getattr(task, "UNSAFE_CODE", False):
        raise _invalid(f"task {name}", "a task that reads text", "it runs code that the model wrote", "leave it out")
    if getattr(task, "MULTIMODAL", False):
        raise _invalid(f"task {name}", "a task of text", "it shows pictures or sounds", "leave it out")


def _set_shots(task: Any, shots: int | None) -> None:
    """Set the number of examples in a prompt; a task whose file says 0 keeps it, as in lm-eval."""
    own = task.get_config("num_fewshot")
    if own != 0 and (shots is not None or own is None):
        task.set_config(key="num_fewshot", value=shots or 0)


def _asked(name: str, task: Any, source: str | None) -> Asked:
    """Return what the record says of a task."""
    dataset = " ".join(str(part) for part in (task.DATASET_PATH, task.DATASET_NAME) if part)
    return Asked(
        name=name,
        source=source or f"lm-eval: {dataset or 'its own data'}",
        version=str(task.VERSION),
        shots=int(task.get_config("num_fewshot")),
        questions=len(task.eval_docs),
        metrics={metric: direction_of(better) for metric, better in task.higher_is_better().items()},
    )


@contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Keep lm-eval's notes and bars, one or more a task, from the terminal: ours say what is going on."""
    logger = logging.getLogger("lm_eval")
    level, shown = logger.level, lm_eval_task.tqdm
    logger.setLevel(logging.ERROR)
    lm_eval_task.tqdm = lambda questions, **_: questions
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval_task.tqdm = shown


@contextmanager
def _network_as_allowed() -> Iterator[None]:
    """Let the libraries that load data sets know that the user forbids the network."""
    import datasets.config
    import huggingface_hub.constants

    places: tuple[Any, ...] = (huggingface_hub.constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    if offline(hub=True):
        for place in places:
            place.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _invalid(subject: str, expected: str, got: str, fix: str) -> Rejected:
    return Rejected("benchmark-invalid", subject=subject, expected=expected, got=got, fix=fix)
