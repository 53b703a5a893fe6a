"""Which prompts a patch was trained on, as far as its card and the pairs beside it tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compose.errors import Rejected
from compose.records import PatchCard
from compose.training.pairs import load

ANCHORS = "anchors"
"""What a card calls texts that only keep a patch near its base: no pairs are made of them."""
HEAD_BYTES = 1 << 16


def trained_prompts(card: PatchCard, folder: Path, given: Sequence[Path] = ()) -> tuple[set[str], list[str]]:
    """Return the texts of the prompts that a patch was trained on, and the data sets whose pairs are not at hand.

    A card names what its patch was trained on by digest alone. The pairs lie where a run keeps them,
    `<run>/pairs/*.jsonl` beside `<run>/patches/`, or in files that the user names.

    Args:
        card: The patch's card.
        folder: Where the patch lies.
        given: Files of pairs, looked into first.

    Raises:
        Rejected: `pairs-corrupt` for a file that carries the right digest and other pairs; `pairs-corrupt` for a given
            file that cannot be read.
    """
    wanted = {digest: name for name, digest in card.data.items() if name != ANCHORS}
    files = [*given, *sorted((folder.resolve().parent.parent / "pairs").glob("*.jsonl"))]
    texts: set[str] = set()
    for path in files:
        digest = _recorded_digest(path)
        if digest is None and path in given:
            raise Rejected(
                "pairs-corrupt",
                subject=str(path),
                expected="a file of preference pairs, as a run keeps them in pairs/",
                got="no such file, or another format",
                fix="name the pairs that the patch was trained on, or leave --pairs out",
            )
        if digest in wanted:
            texts |= {pair.prompt for pair in load(path).pairs}
            del wanted[digest]
    return texts, sorted(wanted.values())


def _recorded_digest(path: Path) -> str | None:
    """Return the digest at the head of a file of pairs, None when it is none."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(HEAD_BYTES))
    except (OSError, ValueError):
        return None
    digest = head.get("digest") if isinstance(head, dict) else None
    return digest if isinstance(digest, str) else None
