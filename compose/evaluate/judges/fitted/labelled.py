"""Labelled texts out of a file of anyone's: JSON lines or CSV with a text and a number from 0 to 1."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from compose.digest import of_file
from compose.errors import Rejected

MAX_FILE_BYTES = 512 * 2**20
FOLDS = 10
PARTS = 5
"""Parts of what was asked, each left out in turn: with every group that is one more fit."""


@dataclass(frozen=True)
class Labelled:
    """Texts with what each should score.

    Attributes:
        texts: What was said.
        targets: From 0 to 1.
        groups: What each text has in common with others (who wrote it, the row it comes from); a text of its own
            group is its own.
        digest: Of the file.
        weights: How much each counts in a fit.
        sure: Whether its target is no guess of a program; a guess is in every fit, and in no measurement.
        asked: What each text answers; empty where that is not known.
        sets: Name of the data set that each comes from; empty in a file of one.
    """

    texts: tuple[str, ...]
    targets: Float[np.ndarray, " texts"]
    groups: tuple[str, ...]
    digest: str
    weights: Float[np.ndarray, " texts"]
    sure: Bool[np.ndarray, " texts"]
    asked: tuple[str, ...]
    sets: tuple[str, ...]

    @property
    def surely(self) -> Labelled:
        """The texts whose targets are no guesses: those that a judge may be measured with."""
        return self._only(self.sure)

    @property
    def guessed(self) -> Labelled:
        """The texts whose targets are guesses; empty when there are none."""
        return self._only(~self.sure)

    @property
    def few_groups(self) -> bool:
        """Whether the groups are few enough to leave them out one by one, and to tell them apart on a card."""
        return len(set(self.groups)) <= FOLDS

    def _only(self, wanted: Bool[np.ndarray, " texts"]) -> Labelled:
        kept = np.flatnonzero(wanted).tolist()

        def some(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[place] for place in kept)

        return Labelled(
            texts=some(self.texts),
            targets=self.targets[kept],
            groups=some(self.groups),
            digest=self.digest,
            weights=self.weights[kept],
            sure=self.sure[kept],
            asked=some(self.asked),
            sets=some(self.sets),
        )

    def folds(self) -> Int[np.ndarray, " texts"]:
        """Return a fold for each text: one a group when there are few groups, else ten by a hash of the group."""
        if self.few_groups:
            names = sorted(set(self.groups))
            return np.asarray([names.index(group) for group in self.groups])
        return np.asarray([_by_hash(group, FOLDS) for group in self.groups])

    def parts(self) -> Int[np.ndarray, " texts"]:
        """Return the part of what was asked that each text answers, by a hash; -1 where that is not known."""
        return np.asarray([_by_hash(asked, PARTS) if asked else -1 for asked in self.asked])


def read_labelled(path: Path) -> Labelled:
    """Return the labelled texts of a `.jsonl` or `.csv` file.

    Its keys are `text`, `target` and, if any, `group`, `weight`, `sure`, `asked` and `set`: see `Labelled`. A target
    whose weight is below 1 is a guess, unless `sure` says "yes".

    Raises:
        Rejected: `labels-invalid`, when the file is missing or malformed, holds nothing, a number outside 0 to 1, or
            one text with two targets.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _invalid(path, f"at most {MAX_FILE_BYTES} bytes", f"{path.stat().st_size}")
        rows = list(_rows(path))
    except OSError as error:
        raise _invalid(path, "a readable file", f"{type(error).__name__}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise _invalid(path, "JSON lines (.jsonl) or CSV with a header (.csv), in UTF-8", str(error)) from error
    if not rows:
        raise _invalid(path, "at least one labelled text", "none")
    texts, targets, groups, weights, sure = [], [], [], [], []
    for number, row in enumerate(rows, start=1):
        text, target = row.get("text"), _number(row.get("target"))
        if not isinstance(text, str) or not text.strip():
            raise _invalid(path, "a text under `text` in every row", f"row {number} without one")
        if target is None or not 0 <= target <= 1:
            raise _invalid(path, "a number from 0 to 1 under `target`", f"{row.get('target')!r} in row {number}")
        weight = _number(row.get("weight") or 1)
        if weight is None or not 0 < weight <= 1:
            raise _invalid(path, "a number above 0, up to 1, under `weight`", f"{row.get('weight')!r} in row {number}")
        if row.get("sure") not in (None, "", "yes", "no"):
            raise _invalid(path, "yes or no under `sure`", f"{row.get('sure')!r} in row {number}")
        weights.append(weight)
        sure.append(row["sure"] == "yes" if row.get("sure") else weight >= 1)
        texts.append(text)
        targets.append(target)
        groups.append(str(row.get("group") or f"row {number}"))
    _refuse_contradictions(path, texts, targets, groups)
    return Labelled(
        texts=tuple(texts),
        targets=np.asarray(targets),
        groups=tuple(groups),
        digest=of_file(path),
        weights=np.asarray(weights),
        sure=np.asarray(sure),
        asked=tuple(str(row.get("asked") or "") for row in rows),
        sets=tuple(str(row.get("set") or "") for row in rows),
    )


def refuse_leakage(fitted: Sequence[str], measured: Sequence[str], subject: str) -> None:
    """Refuse to measure a judge with texts that it was fitted on.

    Raises:
        Rejected: `labels-invalid`.
    """
    known = {_plain(text) for text in fitted}
    shared = sum(_plain(text) in known for text in measured)
    if shared:
        raise Rejected(
            "labels-invalid",
            subject=subject,
            expected="texts that the judge was not fitted on",
            got=f"{shared} of {len(measured)} that it was",
            fix="take them out of one of the two files",
        )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("a line that is no JSON object")
                yield row


def _refuse_contradictions(path: Path, texts: Sequence[str], targets: Sequence[float], groups: Sequence[str]) -> None:
    """Refuse a text with two targets, and one text in two groups: it would be fitted on and measured with."""
    first: dict[str, tuple[float, str]] = {}
    for number, (text, target, group) in enumerate(zip(texts, targets, groups, strict=True), start=1):
        known = first.setdefault(_plain(text), (target, group))
        if known == (target, group):
            continue
        what = "another target" if known[0] != target else "another group"
        raise _invalid(path, "each text once, or always alike", f"row {number} repeats a text with {what}")


def _by_hash(name: str, parts: int) -> int:
    """Return a place below `parts` that is the same on every machine."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % parts


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _invalid(path: Path, expected: str, got: str) -> Rejected:
    return Rejected(
        "labels-invalid", subject=str(path), expected=expected, got=got, fix="correct the file of labelled texts"
    )
