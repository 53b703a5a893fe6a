"""detoxify's models (Hanu and Unitary 2020) as transformers keeps them: several labels, each with a probability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.errors import Rejected
from compose.evaluate.judges import Judged
from compose.evaluate.judges.adapters.local_model import QUIET_BELOW, LocalModel, Text, load
from compose.evaluate.judges.batches import longest_first
from compose.records import SETTINGS

USUAL_LABELS = ("toxicity", "toxic")
"""What detoxify's models call their first label."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Detoxify(LocalModel):
    """Settings of a classifier with several labels, such as `unitary/toxic-bert`.

    Args:
        label: The label that scores; None takes `toxicity` or `toxic`, whichever the model has.
        max_tokens: Longer completions are cut to so many tokens, as detoxify does.
        adapter: Name in the registry.
    """

    label: Text | None = None
    max_tokens: Annotated[int, Field(gt=2)] = 512
    adapter: Literal["detoxify"] = "detoxify"

    def make(self) -> DetoxifyJudge:
        """Return the judge."""
        return DetoxifyJudge(self)


class DetoxifyJudge:
    """Scores a completion, without its prompt, by the probability of one label (a sigmoid, not a softmax)."""

    name = "detoxify"

    def __init__(self, settings: Detoxify) -> None:
        from transformers import AutoConfig

        from compose.fingerprint import fingerprint

        self._settings = settings
        self._folder = settings.folder()
        self._fingerprint = fingerprint(self._folder)  # first, because it refuses what must not be loaded
        config = AutoConfig.from_pretrained(self._folder, local_files_only=True)
        self._label = pick_label({str(name): int(place) for place, name in config.id2label.items()}, settings)
        self._max_tokens = min(settings.max_tokens, config.max_position_embeddings)

    @property
    def version(self) -> str:
        """The digest of weights and tokenizer, and which label it is."""
        name, place = self._label
        return f"{self._settings.model} {self._fingerprint}, label {place} {name}, {self._max_tokens} tokens"

    def score(self, items: Sequence[Judged]) -> list[float | None]:
        """Return the probability of the label for each completion; None for an empty one, which says nothing."""
        texts = [item.completion for item in items]
        said = {place: len(text) for place, text in enumerate(texts) if text.strip()}
        scores: list[float | None] = [None] * len(texts)
        for places in longest_first(said, self._settings.batch_size, "judge", quiet_below=QUIET_BELOW):
            for place, score in zip(places, self._batch([texts[p] for p in places]), strict=True):
                scores[place] = score
        return scores

    def _batch(self, texts: list[str]) -> list[float]:
        import torch

        batch = self._tokenizer(texts, truncation=True, max_length=self._max_tokens, padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(**batch.to(self._model.device)).logits
        found: list[float] = logits[:, self._label[1]].float().sigmoid().tolist()
        return found

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        return load(AutoModelForSequenceClassification, self._folder, self._settings)


def pick_label(labels: dict[str, int], settings: Detoxify) -> tuple[str, int]:
    """Return the label that scores, and its place among the model's outputs.

    Raises:
        Rejected: `settings-invalid`, with the labels that there are.
    """
    wanted = USUAL_LABELS if settings.label is None else (settings.label,)
    for name in wanted:
        if name in labels:
            return name, labels[name]
    raise Rejected(
        "settings-invalid",
        subject=f"judge.label of {settings.model}",
        expected=" or ".join(wanted),
        got=f"a model with the labels {', '.join(labels)}",
        fix="name the label that scores as judge.label",
    )
