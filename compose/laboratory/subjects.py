"""The patches that a measurement is about: loaded, named apart, and not measured on what they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compose.artifact import Patch, load
from compose.errors import Rejected
from compose.evaluate.results import BASE
from compose.evaluate.risks import Risk
from compose.evaluate.suites.load import refuse_trained_on
from compose.evaluate.suites.record import Measured
from compose.laboratory.leakage import trained_prompts
from compose.records import PAIRS_JUDGED_BY


@dataclass(frozen=True)
class Subject:
    """A patch to be measured, under the name it has in tables."""

    name: str
    patch: Patch
    folder: Path


def load_subjects(folders: Sequence[Path]) -> list[Subject]:
    """Return the patches of these folders under names that tell them apart.

    Raises:
        Rejected: `settings-invalid` when one patch is given twice; what loading refuses.
    """
    patches = [(load(folder), folder) for folder in folders]
    digests = [patch.card.prefix for patch, _ in patches]
    if len(set(digests)) != len(digests):
        raise Rejected(
            "settings-invalid",
            subject="--patch",
            expected="different patches",
            got="the same matrix more than once",
            fix="name every patch once",
        )
    taken = [patch.card.name for patch, _ in patches]
    subjects = []
    for patch, folder in patches:
        name = patch.card.name
        if taken.count(name) > 1 or name == BASE:
            name = f"{name}-{patch.card.prefix.removeprefix('sha256:')[:6]}"
        subjects.append(Subject(name, patch, folder))
    return subjects


def vouched(risks: Iterable[Risk], subject: Subject, pairs: Sequence[Path], *, where: str) -> list[str]:
    """Return what cannot be said about a patch's training prompts; refuse those that it is to be tested with.

    Args:
        risks: What it is to be measured on.
        subject: The patch.
        pairs: Files of the pairs that it was trained on, where they do not lie beside it.
        where: What measures it, for the error message.

    Raises:
        Rejected: `prompts-overlap`; `pairs-corrupt`.
    """
    texts, unknown = trained_prompts(subject.patch.card, subject.folder, pairs)
    refuse_trained_on(risks, texts, patch=subject.name, where=where)
    if not subject.patch.card.data:
        return [f"{subject.name} does not say what it was trained on: it may have seen the test prompts"]
    if unknown:
        named = ", ".join(unknown)
        return [
            f"the pairs that {subject.name} was trained on ({named}) are not at hand: "
            "whether it has seen test prompts was not checked (--pairs FILE)"
        ]
    return []


def pair_judges(subject: Subject) -> dict[str, str]:
    """Return by risk the judge that filtered a patch's training pairs, as far as its card tells."""
    said = subject.patch.card.training.get(PAIRS_JUDGED_BY)
    return {risk: str(judge) for risk, judge in said.items() if judge} if isinstance(said, dict) else {}


def described(subject: Subject) -> Measured:
    """Return what a record says of a patch."""
    card = subject.patch.card
    return Measured(
        name=subject.name,
        card_name=card.name,
        version=card.version,
        prefix=card.prefix,
        status=card.status,
        folder=str(subject.folder),
        pairs_judged_by=pair_judges(subject),
    )
