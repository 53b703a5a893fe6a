"""One composition and all questions: lm-eval asks, what comes back is a row a question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from lm_eval.evaluator import evaluate

from compose.digest import of_json
from compose.errors import Rejected
from compose.evaluate.benchmark.model import EngineLM
from compose.evaluate.benchmark.record import Aggregate, BenchmarkRow, BenchmarkSpec, direction
from compose.evaluate.benchmark.tasks import LoadedTasks, quiet_lm_eval, seed_everything

NO_FILTER = "none"
"""How lm-eval calls it when a task takes answers as they are."""


class Answers(NamedTuple):
    """What one composition gave: a row a question, and the metrics that rows cannot give."""

    rows: list[BenchmarkRow]
    aggregates: list[Aggregate]


def ask(composition: str, model: EngineLM, loaded: LoadedTasks, spec: BenchmarkSpec) -> Answers:
    """Return a composition's answers to the tasks' questions.

    Every composition meets the generators in the same state, so that few-shot examples that are drawn are the same.

    Raises:
        Rejected: What the model refuses; `benchmark-invalid` when a metric of a question is NaN or infinite.
    """
    seed_everything(spec.seed)
    for task in loaded.tasks.values():
        task.set_fewshot_seed(seed=spec.seed)
    with quiet_lm_eval():
        found = evaluate(
            lm=model,
            task_dict={"tasks": dict(loaded.tasks)},
            limit=spec.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=spec.chat,
            fewshot_as_multiturn=spec.chat,
        )
    rows = [row for name, samples in found["samples"].items() for row in _rows(composition, name, samples)]
    known = {(row.task, metric) for row in rows for metric in row.metrics}
    aggregates = [
        Aggregate(composition=composition, task=one.name, metric=metric, direction=direction(one, metric), value=value)
        for one in loaded.asked
        for metric, value in _aggregates(found["results"][one.name])
        if (one.name, metric) not in known
    ]
    return Answers(rows, aggregates)


def _rows(composition: str, task: str, samples: list[dict[str, Any]]) -> Iterator[BenchmarkRow]:
    """Yield a row a question; lm-eval has one sample for each filter of a question."""
    by_question: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_question.setdefault(sample["doc_id"], []).append(sample)
    for question, own in sorted(by_question.items()):
        metrics = {
            _name(metric, sample["filter"]): _finite(task, question, metric, sample[metric])
            for sample in own
            for metric in sample["metrics"]
            if isinstance(sample[metric], int | float)  # not the parts of a perplexity
        }
        yield BenchmarkRow(
            composition=composition,
            task=task,
            question=question,
            request=of_json(_plain(own[0]["arguments"])),
            target=str(own[0]["target"]),
            responses=_plain(own[0]["resps"]),
            metrics=metrics,
        )


def _aggregates(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield name and value of every metric that lm-eval gives for a task, its errors left out."""
    for key, value in results.items():
        metric, comma, picked = key.partition(",")
        if comma and isinstance(value, int | float) and not metric.endswith("_stderr") and math.isfinite(value):
            yield _name(metric, picked), float(value)


def _name(metric: str, picked: str) -> str:
    """Return a metric with the filter of the answer, where there is one."""
    return metric if picked == NO_FILTER else f"{metric},{picked}"


def _finite(task: str, question: int, metric: str, value: float) -> float:
    if not math.isfinite(value):
        raise Rejected(
            "benchmark-invalid",
            subject=f"task {task}, question {question}",
            expected=f"a finite {metric}",
            got=str(value),
            fix="see whether the base computes finite numbers at all (model.dtype), and the task's metric",
        )
    return float(value)


def _plain(value: Any) -> Any:
    """Return what lm-eval gives as JSON holds it."""
    return json.loads(json.dumps(value, default=str))
