"""An arm of an experiment, put into a store: the patches that it is made of, the method and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from compose.algebra.expression import Call, Expression, Leaf, parse
from compose.errors import Rejected
from compose.parse import revise
from compose.patch_files import CARD_FILE, from_files, read_folder
from compose.records import PatchCard
from compose.trust.claims import ParamValue
from compose.trust.ranges import number
from compose.trust.store import Store, Stored

WHOLE = ("concat", "mean")
"""Methods whose arms are taken apart into the patches that they were made of; any other arm is one patch."""


class ArmParts(NamedTuple):
    """What a manifest of an arm says: a trained arm is the concatenation of one patch."""

    patches: tuple[Stored, ...]
    method: str
    params: Mapping[str, ParamValue]


def add_arm(run: Path, arm: str, store: Store) -> ArmParts:
    """Return an arm's parts, which are in the store afterwards.

    Args:
        run: Folder of a finished run of an experiment.
        arm: Name of the arm: of its folder in `<run>/patches`.
        store: Where the patches are put.

    Raises:
        Rejected: `artifact-missing` when there is no such arm; and as `Store.put`.
    """
    patches = run / "patches"
    folders = {path.name: path for path in sorted(patches.iterdir())} if patches.is_dir() else {}
    if arm not in folders:
        raise Rejected(
            "artifact-missing",
            subject=f"arm {arm[:80]!a} of {run}",
            expected=f"one of {', '.join(folders) or 'the patches of a finished run, and there is none'}",
            got="no such arm",
            fix="name a run's own folder (the report's page says which) and one of its arms",
        )
    expression = parse(card) if (card := _card(folders[arm]).expression) is not None else None
    taken = _taken_apart(expression, folders)
    if taken is None:
        return ArmParts((_put(folders[arm], store),), "concat", {})
    parts, method, params = taken
    return ArmParts(tuple(_put(folder, store) for folder in parts), method, params)


def _put(folder: Path, store: Store) -> Stored:
    """Return a run's patch in the store, under the next minor version where another patch has its own.

    Runs of other seeds and sweeps give their patches the same name and version.
    """
    card = _card(folder)
    known = store.versions(card.name)
    for stored in known:
        if revise(stored.card, version=card.version) == card:
            return stored
    if card.version not in {stored.card.version for stored in known}:
        return store.put(folder)
    major, minor, _ = number(known[0].card.version)
    return store.put(folder, version=f"{major}.{minor + 1}.0")


def _taken_apart(
    expression: Expression | None, folders: Mapping[str, Path]
) -> tuple[tuple[Path, ...], str, dict[str, ParamValue]] | None:
    """Return the folders, method and parameters of an arm made of patches that the run has; None for another."""
    if not isinstance(expression, Call) or expression.method not in WHOLE:
        return None
    by_digest = {_card(folder).prefix: folder for folder in folders.values() if (folder / CARD_FILE).is_file()}
    parts = [by_digest.get(part.digest) for part in expression.parts if isinstance(part, Leaf)]
    found = tuple(part for part in parts if part is not None)
    params: dict[str, ParamValue] = {key: value for key, value in expression.params if not isinstance(value, Leaf)}
    if len(found) != len(expression.parts) or len(set(found)) != len(found):
        return None
    return found, expression.method, params


def _card(folder: Path) -> PatchCard:
    """Return the card of a patch's folder.

    Raises:
        Rejected: As `patch_files.from_files`; `artifact-missing` when it has none.
    """
    contents = from_files(read_folder(folder), subject=str(folder))
    if contents.card is None:
        raise Rejected(
            "artifact-missing",
            subject=f"{folder}/{CARD_FILE}",
            expected="a card, as every arm of a run has one",
            got="no such file",
            fix="name the folder of a finished run",
        )
    return contents.card
