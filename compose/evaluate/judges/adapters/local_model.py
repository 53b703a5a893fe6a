"""Judges that are models on this machine: where their weights are, what identifies them, and verdicts in words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from compose.assets import Hub, Local, fetch
from compose.errors import Rejected
from compose.evaluate.judges.batches import longest_first
from compose.records import SETTINGS

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
QUIET_BELOW = 64


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LocalModel:
    """Which model judges, and how it is loaded.

    Attributes:
        model: A folder of this machine (config, tokenizer, safetensors), or `owner/name` on the HF hub.
        revision: Branch, tag or commit on the hub; only a commit stays the same for ever.
        device: Where it computes; the first GPU, else the CPU, when None.
        dtype: Type of the loaded weights; `auto` is bfloat16 or float16 on a GPU and float32 on a CPU.
        batch_size: Completions that are judged at a time.
    """

    model: Text
    revision: Text = "main"
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    batch_size: Annotated[int, Field(gt=0)] = 8

    def folder(self) -> Path:
        """Return the model's folder, fetched when it is not at hand.

        Raises:
            Rejected: `asset-missing`, `settings-invalid` for what is no folder and no repository's name.
        """
        folder = fetch(place(self.model, self.revision))
        if folder.is_dir():
            return folder
        raise Rejected(
            "settings-invalid",
            subject=f"judge.model {self.model}",
            expected="a model folder (config, tokenizer, safetensors)",
            got="a file",
            fix="name the folder",
        )


def place(name: str, revision: str) -> Local | Hub:
    """Return where a model is: on this disk when something is there or the name can only be a path, else on the hub.

    Raises:
        Rejected: `settings-invalid` for a name that is neither.
    """
    from pydantic import ValidationError

    if name.startswith(("/", ".", "~")) or Path(name).exists():
        return Local(path=name)
    try:
        return Hub(repo=name, revision=revision)
    except ValidationError as error:
        raise Rejected(
            "settings-invalid",
            subject=f"judge.model {name!r}",
            expected="a folder of this machine, or owner/name on the HF hub",
            got="neither",
            fix="correct the path (a relative one begins with ./) or the repository's name",
        ) from error


class Said(NamedTuple):
    """What a judging model answered.

    Attributes:
        text: Its words.
        leaning: Of the two words it was to choose between, the share of the second one's probability at the place
            where it chose; None when it chose neither.
    """

    text: str
    leaning: float | None


class Speaker:
    """A causal language model that answers with one of two words, greedily.

    Args:
        settings: The model.
        words: The two words: first the one that says safe, then the one that says unsafe.
        max_new_tokens: How much of the answer is read.

    Raises:
        Rejected: `asset-missing`, `unsafe-weights`, or `settings-invalid` for a device that is not there.
    """

    def __init__(self, settings: LocalModel, words: tuple[str, str], max_new_tokens: int) -> None:
        from compose.fingerprint import fingerprint

        self.settings = settings
        self.folder = settings.folder()
        self.fingerprint = fingerprint(self.folder)  # first, because it refuses what must not be loaded
        self._words = words
        self._max_new_tokens = max_new_tokens

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, padding on the left."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder, padding_side="left", local_files_only=True)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """The model, loaded when it is first asked."""
        from transformers import AutoModelForCausalLM

        return load(AutoModelForCausalLM, self.folder, self.settings)

    def answer(self, prompts: Sequence[Sequence[int]]) -> list[Said | None]:
        """Return the answer to each prompt, given as token ids; None to one that is too long for the model."""
        limit = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30) - self._max_new_tokens
        fitting = {place: len(ids) for place, ids in enumerate(prompts) if len(ids) <= limit}
        answers: list[Said | None] = [None] * len(prompts)
        for places in longest_first(fitting, self.settings.batch_size, "judge", quiet_below=QUIET_BELOW):
            for where, said in zip(places, self._batch([prompts[p] for p in places]), strict=True):
                answers[where] = said
        return answers

    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[Said]:
        import torch

        batch = self.tokenizer.pad({"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt")
        with torch.inference_mode():
            made = self.model.generate(
                **batch.to(self.model.device),
                max_new_tokens=self._max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                output_logits=True,
                return_dict_in_generate=True,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        ids = made.sequences[:, batch["input_ids"].shape[1] :].cpu()
        logits = torch.stack(made.logits, dim=1).float().cpu()
        return [
            Said(self.tokenizer.decode(row, skip_special_tokens=True).strip(), self._leaning(row, steps))
            for row, steps in zip(ids, logits, strict=True)
        ]

    def _leaning(self, ids: torch.Tensor, logits: torch.Tensor) -> float | None:
        """Return how strongly the second word was chosen, at the first step at which either of them was.

        Args:
            ids: [new tokens]
            logits: [new tokens, vocabulary]
        """
        first, second = self._beginnings
        for step, token in enumerate(ids.tolist()):
            if token in first or token in second:
                share = logits[step].softmax(-1)
                mass = (share[sorted(first)].sum(), share[sorted(second)].sum())
                return float(mass[1] / (mass[0] + mass[1]))
        return None

    @cached_property
    def _beginnings(self) -> tuple[frozenset[int], frozenset[int]]:
        """The token that each word begins with, behind nothing, a space or an empty line."""
        first, second = (
            frozenset(
                next(token for token in ids if self.tokenizer.decode([token]).strip())
                for ids in (self.tokenizer.encode(lead + word, add_special_tokens=False) for lead in ("", " ", "\n\n"))
            )
            for word in self._words
        )
        return first - second, second - first


def load(kind: Any, folder: Path, settings: LocalModel) -> Any:
    """Return a model of that auto class, in eval mode, of safetensors alone and with no code of the folder's own."""
    from compose.assets.quiet import quiet_transformers
    from compose.device import pick_device, pick_dtype

    device = pick_device(settings.device)
    with quiet_transformers():
        model = kind.from_pretrained(
            folder,
            dtype=pick_dtype(settings.dtype, device),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    return model.to(device).eval()
