"""The files of a patch's folder <-> its card and its matrix, without torch: the strict door for other people's files.

Every file is read once, as bytes; the matrix, its digest and the card are taken from those bytes and from nothing that
could have changed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from compose import digest, plain_file
from compose.errors import Rejected
from compose.parse import MAX_CARD_BYTES, card_bytes, make_record, read_card, strict_json
from compose.prefix_bytes import ELSEWHERE, MAX_FILE_BYTES, OURS, check_prefix, read_prefix, write_prefix
from compose.records import MAX_DIM, MAX_TOKENS, CardDraft, PatchCard

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
CARD_FILE = "patch.json"
SIGNATURE_FILE = "signature.json"
"""What its author has signed; nothing here reads it (compose.trust.authorship)."""
MAX_BYTES = {
    CONFIG_FILE: 64 * 1024,
    TENSOR_FILE: MAX_FILE_BYTES,
    CARD_FILE: MAX_CARD_BYTES,
    SIGNATURE_FILE: 64 * 1024,
}
PEFT_LAYOUT = "0.21.2"
"""The PEFT release whose adapter_config.json we write."""


class AnyPatch(Protocol):
    """A matrix and its card, whichever library holds the matrix."""

    @property
    def values(self) -> Float32[ndarray, "tokens dim"]:
        """The prefix."""

    @property
    def card(self) -> PatchCard:
        """Its card."""

    @classmethod
    def of(cls, values: Float32[ndarray, "tokens dim"], card: PatchCard) -> Self:
        """Return the patch of a matrix and its card."""


@dataclass(frozen=True, eq=False)
class PlainPatch:
    """A learned soft prefix with its card, without torch; the two always fit each other.

    Args:
        values: float32; the patch keeps its own copy, which nobody can write to.
        card: Its card, naming this very matrix by digest.

    Raises:
        Rejected: `prefix-invalid` when the matrix cannot be a prefix; `artifact-mismatch` when it is not the
            one that the card names.
    """

    values: Float32[ndarray, "tokens dim"]
    card: PatchCard

    def __post_init__(self) -> None:
        check_prefix(self.values, subject=self.card.name)
        own = np.array(self.values, dtype=np.float32, order="C")
        own.setflags(write=False)
        object.__setattr__(self, "values", own)
        check_fits(own, self.card)

    @classmethod
    def of(cls, values: Float32[ndarray, "tokens dim"], card: PatchCard) -> Self:
        """Return the patch of a matrix and its card."""
        return cls(values, card)


class Contents(NamedTuple):
    """What a patch's folder holds.

    Attributes:
        values: The prefix, [tokens, dim].
        card: Its card, which names this very matrix; None when there is no patch.json.
        base_name: What adapter_config.json calls the base, whatever that is.
    """

    values: Float32[ndarray, "tokens dim"]
    card: PatchCard | None
    base_name: object


def values_digest(values: Float32[ndarray, "tokens dim"]) -> str:
    """Return the digest of a prefix: of its shape and its float32 values, whatever file they came in."""
    head = f"compose-prefix float32 {values.shape[0]} {values.shape[1]}\n".encode()
    return digest.of_bytes(head + np.ascontiguousarray(values, dtype="<f4").tobytes())


def new_card(values: Float32[ndarray, "tokens dim"], draft: CardDraft) -> PatchCard:
    """Return the card of a matrix that says what `draft` says."""
    fields = {name: getattr(draft, name) for name in CardDraft.model_fields}
    fields |= {"tokens": values.shape[0], "dim": values.shape[1], "prefix": values_digest(values)}
    return make_record(PatchCard, fields, subject=f"card of {draft.name}", code="card-invalid")


def check_fits(values: Float32[ndarray, "tokens dim"], card: PatchCard) -> None:
    """Refuse a card that describes another matrix.

    Raises:
        Rejected: `artifact-mismatch`.
    """
    actual = values_digest(values)
    if values.shape != (card.tokens, card.dim) or actual != card.prefix:
        raise Rejected(
            "artifact-mismatch",
            subject=card.name,
            expected=f"the card's prefix: {card.tokens} x {card.dim}, {card.prefix}",
            got=f"{values.shape[0]} x {values.shape[1]}, {actual}",
            fix="get the whole patch again: its tensor and its card do not belong together",
        )


def to_files(values: Float32[ndarray, "tokens dim"], card: PatchCard) -> dict[str, bytes]:
    """Return the files of a patch's folder: name -> bytes, the same on every machine.

    Raises:
        Rejected: `artifact-mismatch`, when the card describes another matrix.
    """
    check_fits(values, card)
    return {
        CONFIG_FILE: digest.canonical_json(_adapter_config(card)) + b"\n",
        TENSOR_FILE: write_prefix(values),
        CARD_FILE: card_bytes(card),
    }


def from_files(files: Mapping[str, bytes], *, subject: str = "patch") -> Contents:
    """Return what the files of a patch's folder hold, each checked and all of them agreeing.

    Raises:
        Rejected: `artifact-missing`, `artifact-config`, `artifact-bytes`, `prefix-invalid`, `card-invalid` or
            `artifact-mismatch`.
    """
    for name in (CONFIG_FILE, TENSOR_FILE):
        if name not in files:
            raise _missing(f"{subject}/{name}", "no such file")
    tokens, dim, base_name = _read_config(files[CONFIG_FILE], subject=f"{subject}/{CONFIG_FILE}")
    dtypes = OURS if CARD_FILE in files else ELSEWHERE
    values = read_prefix(files[TENSOR_FILE], subject=f"{subject}/{TENSOR_FILE}", dtypes=dtypes)
    if values.shape != (tokens, dim):
        raise Rejected(
            "artifact-mismatch",
            subject=f"{subject}/{TENSOR_FILE}",
            expected=f"{tokens} x {dim}, as {CONFIG_FILE} says",
            got=f"{values.shape[0]} x {values.shape[1]}",
            fix="get the whole folder again: its files belong to different patches",
        )
    if CARD_FILE not in files:
        return Contents(values, None, base_name)
    card = read_card(files[CARD_FILE], subject=f"{subject}/{CARD_FILE}")
    check_fits(values, card)
    return Contents(values, card, base_name)


def read_folder(folder: str | Path) -> dict[str, bytes]:
    """Return the files of a patch's folder that are there, each read once.

    Raises:
        Rejected: `artifact-missing` when the folder is not there; `artifact-file` for anything but a plain file
            of sane size.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(str(folder), str(error.strerror)) from error
    except OSError as error:
        raise plain_file.unreadable(str(folder), str(error.strerror), code="artifact-file") from error
    try:
        # One handle for all files: a folder swapped in between cannot lend the tensor of one patch to
        # another's card.
        read = {
            name: plain_file.read_bytes(
                name, max_bytes=max_bytes, code="artifact-file", subject=f"{folder}/{name}", folder=handle
            )
            for name, max_bytes in MAX_BYTES.items()
        }
    finally:
        os.close(handle)
    return {name: data for name, data in read.items() if data is not None}


def _adapter_config(card: PatchCard) -> dict[str, Any]:
    """Return what PEFT writes beside a prompt-tuning tensor; its "RANDOM" init is never run."""
    return {
        "auto_mapping": None,
        "base_model_name_or_path": card.base.name,
        "inference_mode": True,
        "modules_to_save": None,
        "num_attention_heads": card.base.heads,
        "num_layers": card.base.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": card.tokens,
        "peft_type": "PROMPT_TUNING",
        "peft_version": PEFT_LAYOUT,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "revision": None,
        "task_type": "CAUSAL_LM",
        "token_dim": card.dim,
        "tokenizer_kwargs": None,
        "tokenizer_name_or_path": None,
    }


def _read_config(data: bytes, *, subject: str) -> tuple[int, int, object]:
    """Return the tokens, the width and the base's name of an adapter_config.json; unknown keys are let be."""
    config = strict_json(data, subject=subject, code="artifact-config", max_bytes=MAX_BYTES[CONFIG_FILE])
    allowed: dict[str, tuple[object, ...]] = {
        "peft_type": ("PROMPT_TUNING",),
        "task_type": ("CAUSAL_LM", None),
        "num_transformer_submodules": (1, None),
        "modules_to_save": (None, []),
    }
    findings = [
        f"{key} {ascii(config.get(key))[:40]} (only {' or '.join(map(repr, values))} will do)"
        for key, values in allowed.items()
        if config.get(key) not in values
    ]
    for key, largest in (("num_virtual_tokens", MAX_TOKENS), ("token_dim", MAX_DIM)):
        value = config.get(key)
        if type(value) is not int or not 1 <= value <= largest:
            findings.append(f"{key} {ascii(value)[:40]} (expected 1 to {largest})")
    if findings:
        raise Rejected(
            "artifact-config",
            subject=subject,
            expected="the configuration of a prompt-tuning adapter for a causal language model",
            got="; ".join(findings),
            fix="train the adapter with PEFT's PROMPT_TUNING: other kinds cannot be composed as prefixes",
        )
    return config["num_virtual_tokens"], config["token_dim"], config.get("base_model_name_or_path")


def _missing(subject: str, got: str) -> Rejected:
    """Return the error about a patch that is not there."""
    return Rejected(
        "artifact-missing",
        subject=subject,
        expected=f"a folder with {CONFIG_FILE} and {TENSOR_FILE}",
        got=got,
        fix="check the path; a pickled adapter_model.bin must be saved anew by PEFT, as safetensors",
    )
