"""Adapters to other people's judges. A judge in settings is a name of `JUDGES`, or a record of one of these."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Discriminator, Tag

from compose.evaluate.judges import Judge, make_judge, refuse_unknown
from compose.evaluate.judges.adapters.detoxify import Detoxify
from compose.evaluate.judges.adapters.harmbench import HarmBench
from compose.evaluate.judges.adapters.llama_guard import LlamaGuard
from compose.evaluate.judges.adapters.rubric import Rubric

__all__ = ["AnyAdapter", "Detoxify", "HarmBench", "JudgeSettings", "LlamaGuard", "Rubric", "judge_of"]

AnyAdapter: TypeAlias = LlamaGuard | HarmBench | Detoxify | Rubric
"""Every adapter: the registry."""


def _adapter_of(value: Any) -> str | None:
    """Return which of the variants settings mean: a name, or the adapter of that record."""
    if isinstance(value, str):
        return "name"
    adapter = value.get("adapter") if isinstance(value, dict) else getattr(value, "adapter", None)
    return adapter if isinstance(adapter, str) else None


JudgeSettings = Annotated[
    Annotated[str, AfterValidator(refuse_unknown), Tag("name")]
    | Annotated[LlamaGuard, Tag("llama_guard")]
    | Annotated[HarmBench, Tag("harmbench")]
    | Annotated[Detoxify, Tag("detoxify")]
    | Annotated[Rubric, Tag("rubric")],
    Discriminator(
        _adapter_of,
        custom_error_type="judge",
        custom_error_message="a judge is a name, or a record with adapter: llama_guard, harmbench, detoxify or rubric",
    ),
]
"""Settings of any judge; records say which with the key `adapter`."""


def judge_of(settings: str | AnyAdapter) -> Judge:
    """Return the judge of that name, or the one that the settings of an adapter describe.

    Raises:
        Rejected: `settings-invalid` for an unknown name, and what an adapter's model or server raises.
    """
    return make_judge(settings) if isinstance(settings, str) else settings.make()
