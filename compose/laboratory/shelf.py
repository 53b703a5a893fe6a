"""Finished stages on the disk, by key: what several arms and several jobs share is trained once."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from compose import artifact, durable
from compose.artifact import Patch
from compose.errors import Rejected

PATCH = "patch"
SNAPSHOTS = "snapshots.safetensors"
RECORD = "stage.json"


@dataclass(frozen=True)
class Trained:
    """A finished trained stage.

    Args:
        patch: The trained patch, frozen segments included.
        snapshots: Prefixes on the way, by optimiser step.
        log: What the trainer logged.
        steps: Optimiser steps that were taken.
        seconds: Wall time of the process that finished the training.
        commit: Commit of the code that trained it, and whether there were changes on top.
    """

    patch: Patch
    snapshots: dict[int, Float[Tensor, "tokens dim"]]
    log: list[dict[str, Any]]
    steps: int
    seconds: float
    commit: tuple[str, bool] = ("unknown", False)


class Shelf:
    """A folder of finished stages.

    Args:
        folder: Where they lie, one folder a key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def references(self) -> Path:
        """Return the folder of scores under DPO's references, which all stages share."""
        return self.folder / "references"

    def get(self, key: str) -> Trained | None:
        """Return the stage of a key; None when it is not there, or is damaged and must be trained again."""
        place = self.folder / key
        if not place.is_dir():
            return None
        try:
            record = json.loads((place / RECORD).read_bytes())
            tensors = load_tensors((place / SNAPSHOTS).read_bytes())
            patch = artifact.load(place / PATCH)
            return Trained(
                patch=patch,
                snapshots={int(name): tensor for name, tensor in tensors.items()},
                log=record["log"],
                steps=record["steps"],
                seconds=record["seconds"],
                commit=(str(record["commit"]), bool(record["commit_has_changes"])),
            )
        except (Rejected, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = error.code if isinstance(error, Rejected) else type(error).__name__
            print(f"the finished stage in {place} is damaged ({reason}) and is made again", file=sys.stderr)
            return None

    def put(self, key: str, trained: Trained) -> None:
        """Keep a finished stage, whole or not at all; what its training left for resuming is removed.

        Raises:
            Rejected: `disk-full` or `read-only`.
        """
        tensors = {str(step): prefix.contiguous() for step, prefix in trained.snapshots.items()}
        with durable.new_folder(self.folder / key, replace=True) as unfinished:
            artifact.save(trained.patch, unfinished / PATCH)
            durable.write_bytes(unfinished / SNAPSHOTS, save_tensors(tensors))
            durable.write_json(
                unfinished / RECORD,
                {
                    "log": trained.log,
                    "steps": trained.steps,
                    "seconds": trained.seconds,
                    "commit": trained.commit[0],
                    "commit_has_changes": trained.commit[1],
                },
            )
        shutil.rmtree(self.work(key), ignore_errors=True)

    def work(self, key: str) -> Path:
        """Return the folder in which a stage is trained, so that it can go on after an interruption."""
        return self.folder / f"{key}.unfinished"

    @contextmanager
    def reserved(self, key: str) -> Iterator[None]:
        """Hold a stage for the block: another job that needs it waits, and then finds it finished."""
        with durable.locked(self.folder / key, waiting_for=f"another job that trains stage {key[:12]}"):
            yield
