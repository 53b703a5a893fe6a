"""A patch, and its folder on disk: what PEFT loads, and patch.json beside it.

The files go through the strict door of compose.patch_files, and become a tensor here. A folder without patch.json (made
by PEFT elsewhere) loads as "unproven".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from compose import patch_files
from compose.durable import new_folder, write_bytes
from compose.errors import Rejected
from compose.parse import make_record, revise
from compose.patch_files import CARD_FILE as CARD_FILE
from compose.patch_files import CONFIG_FILE as CONFIG_FILE
from compose.patch_files import MAX_BYTES as MAX_BYTES
from compose.patch_files import TENSOR_FILE as TENSOR_FILE
from compose.prefix_bytes import check_prefix
from compose.records import BaseRef, CardDraft, PatchCard


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
        _check(self.prefix, subject=self.card.name)
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
        patch_files.check_fits(own.numpy(), self.card)

    @property
    def values(self) -> Float32[ndarray, "tokens dim"]:
        """The prefix as an array that nobody can write to."""
        values = self.prefix.numpy()
        values.setflags(write=False)
        return values

    @classmethod
    def of(cls, values: Float32[ndarray, "tokens dim"], card: PatchCard) -> Self:
        """Return the patch of a matrix and its card."""
        return cls(torch.tensor(values), card)


def prefix_digest(prefix: Float[Tensor, "tokens dim"]) -> str:
    """Return the digest of a prefix: of its shape and its float32 values, whatever file they came in."""
    return patch_files.values_digest(prefix.detach().to("cpu", torch.float32).numpy())


def new_card(prefix: Float[Tensor, "tokens dim"], draft: CardDraft) -> PatchCard:
    """Return the card of `prefix` that says what `draft` says."""
    return patch_files.new_card(prefix.detach().to("cpu", torch.float32).numpy(), draft)


def new_patch(prefix: Float[Tensor, "tokens dim"], draft: CardDraft) -> Patch:
    """Return the patch of a freshly made matrix, which may be a parameter, on a GPU, or of another precision.

    Raises:
        Rejected: `prefix-invalid`, when the matrix cannot be a prefix (for instance because training
            diverged).
    """
    _check(prefix, subject=draft.name)
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
    return patch_files.to_files(patch.prefix.numpy(), patch.card)


def unpack(files: Mapping[str, bytes], *, subject: str = "patch") -> Patch:
    """Return the patch in the files of its folder; without patch.json one that is marked "unproven".

    Raises:
        Rejected: `artifact-missing`, `artifact-config`, `artifact-bytes`, `prefix-invalid`, `card-invalid` or
            `artifact-mismatch`.
    """
    values, card, base_name = patch_files.from_files(files, subject=subject)
    prefix = torch.from_numpy(values)
    if card is not None:
        return Patch(prefix, card)
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
    return unpack(patch_files.read_folder(folder), subject=str(folder))


def _check(prefix: Float[Tensor, "tokens dim"], *, subject: str) -> None:
    """Refuse a tensor that cannot be a prefix: of any precision, on any device."""
    values = prefix.detach().cpu()
    check_prefix((values.double() if values.is_floating_point() else values).numpy(), subject=subject)


def _other_base(card: PatchCard, *, expected: str, got: str) -> Rejected:
    """Return the error about a patch and a base that do not belong together."""
    return Rejected(
        "base-mismatch",
        subject=f"patch {card.name} {card.version}, made for {card.base.name or 'an unnamed base'}",
        expected=expected,
        got=got,
        fix="load the base that the patch was made for, or train a patch for this one",
    )
