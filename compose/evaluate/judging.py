"""Judging completions laid out as [prompt][sample], and the records of what was said and what it scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compose.evaluate.judges import Judge, Judged, judge_all
from compose.evaluate.prompts import Prompt


def judge_texts(
    judge: Judge,
    prompts: Sequence[Prompt],
    texts: Sequence[Sequence[str]],
    *,
    subject: str,
    truncated: Sequence[Sequence[bool]] | None = None,
) -> tuple[list[list[float | None]], list[dict[str, Any]], int]:
    """Return scores as [prompt][sample], one record per completion, and how many have no score, empty ones included.

    A record says whether the token limit cut its completion, None where `truncated` was not given.

    Raises:
        Rejected: `judge-silent`.
    """
    items = [Judged(p.text, text) for p, samples in zip(prompts, texts, strict=True) for text in samples]
    flat = iter(judge_all(judge, items, subject=subject))
    scores: list[list[float | None]] = []
    records: list[dict[str, Any]] = []
    for prompt, completions in zip(prompts, texts, strict=True):
        scores.append([next(flat) for _ in completions])
        cut = [None] * len(completions) if truncated is None else truncated[len(scores) - 1]
        for sample, (completion, score) in enumerate(zip(completions, scores[-1], strict=True)):
            records.append(
                {
                    "prompt_id": prompt.id,
                    "group": prompt.group,
                    "sample": sample,
                    "prompt": prompt.text,
                    "completion": completion,
                    "score": score,
                    "truncated": cut[sample],
                }
            )
    return scores, records, sum(record["score"] is None for record in records)
