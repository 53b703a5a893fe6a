"""What is put to the test: random compositions of trained patches, some of them with a sabotaged member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from jaxtyping import Float32

from compose import artifact
from compose.artifact import Patch
from compose.errors import Rejected
from compose.laboratory.leakage import trained_prompts
from compose.parse import revise
from compose.patch_files import PlainPatch, values_digest
from compose.progress import bar
from compose.trust.check import check, gather
from compose.trust.claims import Lock
from compose.trust.composition import composed
from compose.trust.initial import initial_manifest
from compose.trust.keyring import Keyring
from compose.trust.locking import make_lock
from compose.trust.manifest import read_manifest
from compose.trust.store import Store, Stored
from compose.trust.suites import shipped_pins
from experiments.summarise import run_folders

COST = "over_refusal"
"""The part that only compositions with a harmfulness patch are measured on: the others hardly refuse anything."""
RISKS: Mapping[tuple[str, ...], float] = {
    ("toxicity", "gender_bias"): 0.7,
    ("toxicity", "harmfulness"): 0.09,
    ("gender_bias", "harmfulness"): 0.09,
    ("toxicity", "gender_bias", "harmfulness"): 0.12,
}
METHODS = {"concat": 0.6, "mean": 0.2, "weighted mean": 0.2}
SABOTAGED_SHARE = 0.3
"""Of the compositions, those with one sabotaged member."""

Sabotage = Literal["scaled", "negated", "noise", "words", "mislabelled"]
SABOTAGES: tuple[Sabotage, ...] = ("scaled", "negated", "noise", "words", "mislabelled")
Values = Float32[np.ndarray, "tokens dim"]


@dataclass(frozen=True)
class Member:
    """A patch that compositions are made of.

    Attributes:
        patch: The patch, under a name of its own.
        sabotage: What was done to it; None for nothing.
    """

    patch: PlainPatch
    sabotage: Sabotage | None = None

    @property
    def risk(self) -> str:
        """The risk that its card names."""
        return self.patch.card.risks[0]


@dataclass(frozen=True)
class Drawn:
    """A composition as it was drawn.

    Attributes:
        lock: Its lock.
        patch: What it is.
        members: What it is made of, in order.
        method: How they are put together.
        allowed: Whether the static rules admit it.
        warned: Their warnings about its matrix.
    """

    lock: Lock
    patch: PlainPatch
    members: tuple[Member, ...]
    method: str
    allowed: bool
    warned: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that it is measured on."""
        risks = tuple(dict.fromkeys(member.risk for member in self.members))
        return (*risks, COST) if "harmfulness" in risks else risks


def specialists(folders: Sequence[Path]) -> list[tuple[PlainPatch, set[str]]]:
    """Return the patches of finished runs, and the prompts that each was trained on.

    Raises:
        Rejected: `results-differ` when there are fewer than two for a risk of the study; what a damaged patch raises.
    """
    found: dict[str, tuple[PlainPatch, set[str]]] = {}
    for run in sorted(run for folder in folders for run in run_folders(folder)):
        for place in sorted((run / "patches").glob("specialist-*")):
            patch = artifact.load(place)
            texts, _ = trained_prompts(patch.card, place)
            found[patch.card.prefix] = (PlainPatch(patch.values, patch.card), texts)
    named: list[tuple[PlainPatch, set[str]]] = []
    for risk in dict.fromkeys(name for risks in RISKS for name in risks):
        own = [found[key] for key in sorted(found) if found[key][0].card.risks == (risk,)]
        if len(own) < 2:
            raise Rejected(
                "results-differ",
                subject=f"patches for {risk} in {', '.join(map(str, folders))}",
                expected="at least two, of different seeds",
                got=str(len(own)),
                fix=f"train them: python -m experiments.forgetting --multirun experiment=single_risk 'order=[{risk}]'",
            )
        for number, (plain, texts) in enumerate(own):
            card = revise(plain.card, name=f"{risk}-{number}", version="1.0.0")
            named.append((PlainPatch(plain.values, card), texts))
    return named


def sabotaged(
    kind: Sabotage, patch: PlainPatch, others: Sequence[PlainPatch], words: Values, rng: np.random.Generator
) -> Member:
    """Return a patch that still claims to be one for its risk.

    Args:
        kind: What is done to it: rows four times as long; turned round; as much noise as it has signal; every other row
            a random word of the vocabulary; or another risk's patch under this one's name.
        patch: The patch.
        others: Patches for other risks.
        words: The base's embeddings.
        rng: Where noise comes from.
    """
    values = patch.values.copy()
    if kind == "scaled":
        values *= 4.0
    elif kind == "negated":
        values = -values
    elif kind == "noise":
        values += rng.normal(0.0, float(np.sqrt(np.mean(values**2))), values.shape).astype(np.float32)
    elif kind == "words":
        values[::2] = words[rng.integers(0, len(words), len(values[::2]))]
    else:
        values = others[int(rng.integers(len(others)))].values.copy()
    card = revise(patch.card, name=f"{patch.card.name}-{kind}", prefix=values_digest(values), parents=())
    return Member(PlainPatch(values, card), kind)


def pool_of(
    patches: Sequence[PlainPatch], words: Values, rng: np.random.Generator
) -> tuple[list[Member], list[Member]]:
    """Return the sound members, and one sabotaged copy of each, every kind in turn."""
    sound = [Member(patch) for patch in patches]
    kinds = [SABOTAGES[place % len(SABOTAGES)] for place in range(len(patches))]
    others = {member.risk: [one.patch for one in sound if one.risk != member.risk] for member in sound}
    return sound, [
        sabotaged(kind, one.patch, others[one.risk], words, rng) for kind, one in zip(kinds, sound, strict=True)
    ]


def draw(sound: Sequence[Member], spoilt: Sequence[Member], n: int, rng: np.random.Generator) -> list[Drawn]:
    """Return `n` different compositions, each locked from a store and checked by the static rules."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        kept = {}
        for member in (*sound, *spoilt):
            name = member.patch.card.name
            kept[name] = store.put(
                artifact.save(Patch.of(member.patch.values, member.patch.card), Path(folder) / "made" / name)
            )
        drawn: dict[str, Drawn] = {}
        with bar(n, "draw", unit="composition") as progress:
            while len(drawn) < n:
                one = _draw(sound, spoilt, store, kept, rng, number=len(drawn))
                if one.patch.card.prefix not in drawn:
                    drawn[one.patch.card.prefix] = one
                    progress.update(1)
    return list(drawn.values())


def _draw(
    sound: Sequence[Member],
    spoilt: Sequence[Member],
    store: Store,
    kept: Mapping[str, Stored],
    rng: np.random.Generator,
    *,
    number: int,
) -> Drawn:
    """Return one composition: risks, seeds, order, method and weights at random."""
    risks = list(RISKS)[rng.choice(len(RISKS), p=list(RISKS.values()))]
    members = [_one([member for member in sound if member.risk == risk], rng) for risk in risks]
    if rng.random() < SABOTAGED_SHARE:
        place = int(rng.integers(len(members)))
        members[place] = _one([member for member in spoilt if member.risk == risks[place]], rng)
    members = [members[place] for place in rng.permutation(len(members))]
    method = str(rng.choice(list(METHODS), p=list(METHODS.values())))
    weights = None
    if method == "weighted mean":
        first = np.round(rng.dirichlet([2.0] * len(members)), 3)[:-1]
        weights = (*map(float, first), float(1 - first.sum()))
    text = initial_manifest(
        [kept[member.patch.card.name] for member in members],
        name=f"drawn-{number}",
        version="1.0.0",
        method=method.split()[-1],
        params={} if weights is None else {"weights": weights},
        pinned=True,
    )
    lock = make_lock(read_manifest(text.encode()), store)
    case = gather(lock, store, {}, keyring=Keyring(), pins=shipped_pins(), now=datetime.now(UTC))
    verdict = check(case, proven=False)
    warned = tuple(found.code for found in verdict.findings if found.code == "result-norm")
    made = composed(lock, [member.patch for member in members])
    return Drawn(lock, made, tuple(members), method, verdict.decision == "allow", warned)


def _one(members: Sequence[Member], rng: np.random.Generator) -> Member:
    return members[int(rng.integers(len(members)))]
