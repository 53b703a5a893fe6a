"""A patch, and its folder on disk: what PEFT loads, and patch.json beside it.

Every file is read once, as bytes; the prefix, its digest and the card are taken from those bytes and from
nothing that could have changed meanwhile. A folder without patch.json (made by PEFT elsewhere) loads as
"unproven".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from compose import digest
from compose.durable import new_folder, write_bytes
from compose.errors import Rejected
from compose.parse import MAX_CARD_BYTES, card_bytes, make_record, read_card, revise, strict_json
from compose.prefix_bytes import ELSEWHERE, MAX_FILE_BYTES, OURS, check_prefix, read_prefix, write_prefix
from compose.records import MAX_DIM, MAX_TOKENS, BaseRef, CardDraft, PatchCard

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
CARD_FILE = "patch.json"
MAX_BYTES = {CONFIG_FILE: 64 * 1024, TENSOR_FILE: MAX_FILE_BYTES, CARD_FILE: MAX_CARD_BYTES}
PEFT_LAYOUT = "0.21.2"
"""The PEFT release whose adapter_config.json we write."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A learned soft prefix with its card; the two always fit each other.

    Args:
        prefix: float32, on the CPU, contiguous; the patch keeps its own copy, which nobody may write to.
        card: Its card, naming this very prefix by digest.

    Raises:
        Rejected: `prefix-invalid` when the matrix cannot be a prefix; `artifact-mismatch` when it is not the
            one that the card names.
    """

    prefix: Float[Tensor, "tokens dim"]
    card: PatchCard

    def __post_init__(self) -> None:
        check_prefix(self.prefix, subject=self.card.name)
        if self.prefix.dtype != torch.float32:
            raise Rejected(
                "prefix-invalid",
                subject=self.card.name,
                expected="float32",
                got=str(self.prefix.dtype),
                fix="convert the matrix, or let new_patch() do it",
            )
        own = self.prefix.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        object.__setattr__(self, "prefix", own)
        self._check_card()

    def _check_card(self) -> None:
        """Refuse a card that describes another matrix."""
        shape, actual = tuple(self.prefix.shape), prefix_digest(self.prefix)
        if shape != (self.card.tokens, self.card.dim) or actual != self.card.prefix:
            raise Rejected(
                "artifact-mismatch",
                subject=self.card.name,
                expected=f"the card's prefix: {self.card.tokens} x {self.card.dim}, {self.card.prefix}",
                got=f"{shape[0]} x {shape[1]}, {actual}",
                fix="get the whole patch again: its tensor and its card do not belong together",
            )


def prefix_digest(prefix: Float[Tensor, "tokens dim"]) -> str:
    """Return the digest of a prefix: of its shape and its float32 values, whatever file they came in."""
    values = prefix.detach().to("cpu", torch.float32).contiguous()
    head = f"compose-prefix float32 {values.shape[0]} {values.shape[1]}\n".encode()
    return digest.of_bytes(head + values.numpy().astype("<f4", copy=False).tobytes())


def new_card(prefix: Float[Tensor, "tokens dim"], draft: CardDraft) -> PatchCard:
    """Return the card of `prefix` that says what `draft` says."""
    fields = {name: getattr(draft, name) for name in CardDraft.model_fields}
    fields |= {"tokens": prefix.shape[0], "dim": prefix.shape[1], "prefix": prefix_digest(prefix)}
    return make_record(PatchCard, fields, subject=f"card of {draft.name}", code="card-invalid")


def new_patch(prefix: Float[Tensor, "tokens dim"], draft: CardDraft) -> Patch:
    """Return the patch of a freshly made matrix, which may be a parameter, on a GPU, or of another precision.

    Raises:
        Rejected: `prefix-invalid`, when the matrix cannot be a prefix (for instance because training
            diverged).
    """
    check_prefix(prefix, subject=draft.name)
    values = prefix.detach().to("cpu", torch.float32)
    return Patch(values, new_card(values, draft))


def adopt(patch: Patch, base: BaseRef) -> Patch:
    """Return a patch that came without a card, with the base that its user vouches for. It stays "unproven".

    Raises:
        Rejected: `base-mismatch`, when the patch names another base already.
    """
    known = patch.card.base.fingerprint
    if known is not None and known != base.fingerprint:
        raise _other_base(patch.card, expected=known, got=base.fingerprint or "no fingerprint")
    return Patch(patch.prefix, revise(patch.card, base=base))


def check_base(card: PatchCard, fingerprint: str, *, dim: int) -> Literal["proven", "unproven"]:
    """Return how far a patch can be trusted to belong to a base: "unproven" when it names none and only fits.

    Args:
        card: Card of the patch.
        fingerprint: Fingerprint of the base at hand.
        dim: Width of its input embeddings.

    Raises:
        Rejected: `base-mismatch`.
    """
    if card.base.fingerprint is not None and card.base.fingerprint != fingerprint:
        raise _other_base(card, expected=card.base.fingerprint, got=fingerprint)
    if card.dim != dim:
        raise _other_base(card, expected=f"embeddings of width {card.dim}", got=f"width {dim}")
    return "unproven" if card.base.fingerprint is None else card.status


def pack(patch: Patch) -> dict[str, bytes]:
    """Return the files of a patch's folder: name -> bytes, the same on every machine.

    Raises:
        Rejected: `artifact-mismatch`, when the prefix was written to since the patch was made.
    """
    patch._check_card()
    return {
        CONFIG_FILE: digest.canonical_json(_adapter_config(patch.card)) + b"\n",
        TENSOR_FILE: write_prefix(patch.prefix),
        CARD_FILE: card_bytes(patch.card),
    }


def unpack(files: Mapping[str, bytes], *, subject: str = "patch") -> Patch:
    """Return the patch in the files of its folder; without patch.json one that is marked "unproven".

    Raises:
        Rejected: `artifact-missing`, `artifact-config`, `artifact-bytes`, `prefix-invalid`, `card-invalid` or
            `artifact-mismatch`.
    """
    for name in (CONFIG_FILE, TENSOR_FILE):
        if name not in files:
            raise _missing(f"{subject}/{name}", "no such file")
    tokens, dim, base_name = _read_config(files[CONFIG_FILE], subject=f"{subject}/{CONFIG_FILE}")
    dtypes = OURS if CARD_FILE in files else ELSEWHERE
    prefix = read_prefix(files[TENSOR_FILE], subject=f"{subject}/{TENSOR_FILE}", dtypes=dtypes)
    if tuple(prefix.shape) != (tokens, dim):
        raise Rejected(
            "artifact-mismatch",
            subject=f"{subject}/{TENSOR_FILE}",
            expected=f"{tokens} x {dim}, as {CONFIG_FILE} says",
            got=f"{prefix.shape[0]} x {prefix.shape[1]}",
            fix="get the whole folder again: its files belong to different patches",
        )
    if CARD_FILE in files:
        return Patch(prefix, read_card(files[CARD_FILE], subject=f"{subject}/{CARD_FILE}"))
    fields = {
        "name": f"peft-{prefix_digest(prefix).removeprefix('sha256:')[:12]}",
        "version": "0.0.0",
        "risks": (),
        "base": {"name": base_name},
        "strategy": "peft",
        "status": "unproven",
    }
    draft = make_record(CardDraft, fields, subject=f"{subject}/{CONFIG_FILE}", code="artifact-config")
    return new_patch(prefix, draft)


def save(patch: Patch, folder: str | Path, *, replace: bool = False) -> Path:
    """Return `folder`, which holds the patch afterwards, whole or not at all.

    Raises:
        Rejected: `already-exists` when the folder is there and `replace` is off; `disk-full` or `read-only`.
    """
    files = pack(patch)
    unpack(files, subject=str(folder))  # what is shipped has been read once, by the reader that will read it
    with new_folder(Path(folder), replace=replace) as unfinished:
        for name, data in files.items():
            write_bytes(unfinished / name, data)
    return Path(folder)


def load(folder: str | Path) -> Patch:
    """Return the patch in `folder`, every file read once through the strict door.

    Raises:
        Rejected: `artifact-missing`; `artifact-file` for anything but a plain file of sane size; and as
            `unpack`.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(str(folder), str(error.strerror)) from error
    except OSError as error:
        raise _unreadable(str(folder), str(error.strerror)) from error
    try:
        # One handle for all files: a folder swapped in between cannot lend the tensor of one patch to
        # another's card.
        read = {name: _read_file(handle, name, subject=f"{folder}/{name}") for name in MAX_BYTES}
    finally:
        os.close(handle)
    return unpack({name: data for name, data in read.items() if data is not None}, subject=str(folder))


def _read_file(folder_handle: int, name: str, *, subject: str) -> bytes | None:
    """Return the bytes of a plain file in an open folder, or None when there is none of that name."""
    try:
        # NOFOLLOW refuses a link, NONBLOCK keeps a FIFO from blocking us for ever.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(subject, str(error.strerror)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(subject, "something that is no plain file")
        if status.st_size > MAX_BYTES[name]:
            raise _unreadable(subject, f"{status.st_size} bytes, more than {MAX_BYTES[name]}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(status.st_size + 1)
    except OSError as error:
        raise _unreadable(subject, str(error.strerror)) from error
    finally:
        os.close(handle)
    if len(data) != status.st_size:
        raise _unreadable(subject, f"{status.st_size} bytes when it was opened and other bytes when it was read")
    return data


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


def _other_base(card: PatchCard, *, expected: str, got: str) -> Rejected:
    """Return the error about a patch and a base that do not belong together."""
    return Rejected(
        "base-mismatch",
        subject=f"patch {card.name} {card.version}, made for {card.base.name or 'an unnamed base'}",
        expected=expected,
        got=got,
        fix="load the base that the patch was made for, or train a patch for this one",
    )


def _missing(subject: str, got: str) -> Rejected:
    """Return the error about a patch that is not there."""
    return Rejected(
        "artifact-missing",
        subject=subject,
        expected=f"a folder with {CONFIG_FILE} and {TENSOR_FILE}",
        got=got,
        fix="check the path; a pickled adapter_model.bin must be saved anew by PEFT, as safetensors",
    )


def _unreadable(subject: str, got: str) -> Rejected:
    """Return the error about something else in the place of a file."""
    return Rejected(
        "artifact-file",
        subject=subject,
        expected="a plain file of the usual size that nobody is writing to",
        got=got,
        fix="see that you may read it; if it is a link, as in download caches, copy the folder with cp -rL",
    )
