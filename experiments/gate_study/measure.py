"""What compositions do on the prompts that a checker sees, and on those that label them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from compose.artifact import Patch
from compose.base import Base
from compose.evaluate.prompts import Prompt, normal_form
from compose.evaluate.results import Measurement
from compose.evaluate.risks import Risk
from compose.evaluate.suites import Suite, SuiteSpec
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.proving import pin_of
from compose.laboratory.series import BASE, COMPOSITION, MEMBER, Asked, completions_of, outcome_of, series_of
from compose.patch_files import PlainPatch
from compose.trust.clock import instant
from compose.trust.evidence import Measured, Series
from compose.trust.suites import SuitePin
from experiments.gate_study.draw import Drawn

SUITE = "gate_study"
CHECKED = 64
"""How many of a part's prompts the checker may see; the rest labels."""
LABEL_SEED, CHECK_SEED = 1, 2


def halves(risk: Risk, trained: set[str]) -> tuple[Risk, Risk]:
    """Return a part twice: with the prompts that the checker sees, and with those that label.

    Prompts are units of their own here, for both halves are random draws of one finite set of prompts.
    """
    fresh = [prompt for prompt in risk.test if normal_form(prompt.text) not in trained]
    spec = replace(risk.spec, by_group=False)

    def of(prompts: Sequence[Prompt]) -> Risk:
        return replace(risk, train=(), test=tuple(prompts), spec=spec)

    return of(fresh[:CHECKED]), of(fresh[CHECKED:])


class Bench:
    """Measurements of compositions and their members, kept in a folder by content.

    Args:
        base: The base.
        spec: Where the parts come from.
        parts: The checker's prompts and the label's, by part.
        folder: Where measurements are kept.
    """

    def __init__(self, base: Base, spec: SuiteSpec, parts: Mapping[str, tuple[Risk, Risk]], folder: Path) -> None:
        self.base, self.parts, self.folder = base, parts, folder
        self.pins = tuple(
            pin_of(Suite(spec=spec, risks=tuple(pair[half] for pair in parts.values()), second={}, utility=None))
            for half in (0, 1)
        )
        self.yardstick = Yardstick(base=base, risks=(), utility=None, seed=0)

    def found(self, part: str, half: int, patches: Mapping[str, PlainPatch | None]) -> dict[str, Measurement]:
        """Return the measurements of patches by name (None is the base), on the checker's half (0) or the label's."""
        yardstick = replace(self.yardstick, risks=(self.parts[part][half],), seed=(CHECK_SEED, LABEL_SEED)[half])
        prefixes = {
            name: None if patch is None else Patch.of(patch.values, patch.card).prefix
            for name, patch in patches.items()
        }
        return measured(prefixes, yardstick, self.folder, f"{part}, {('checked', 'label')[half]}")

    def fill(self, drawn: Sequence[Drawn]) -> None:
        """Measure compositions together, so that they share batches."""
        for part in self.parts:
            wanted = {one.lock.name: one.patch for one in drawn if part in one.parts}
            for half in (0, 1):
                self.found(part, half, wanted)

    def measured(self, one: Drawn, half: int) -> Measured:
        """Return a composition's measurement as evidence holds it; members are asked about their own risk alone."""
        series: list[Series] = []
        outcomes = []
        for part in one.parts:
            risk = self.parts[part][half]
            own = {f"{MEMBER}{m.patch.card.name}": m.patch for m in one.members if m.risk == part}
            found = self.found(part, half, {BASE: None, COMPOSITION: one.patch, **own})
            asked = Asked(SUITE, risk, completions_of(risk, found))
            for row in series_of(asked):
                unasked = {m.patch.card.name: (None,) * len(row.prompts) for m in one.members if m.risk != part}
                series.append(Series(**{**dict(row), "members": {**row.members, **unasked}}))
            outcomes.append(outcome_of(asked))
        pin = self.pins[half]
        return Measured(
            base=self.base.fingerprint,
            composition=one.patch.card.prefix,
            members={locked.name: locked.digest for locked in one.lock.patches},
            seed=0,
            made=instant(datetime.now(UTC)),
            suites={SUITE: SuitePin(digest=pin.digest, parts={part: pin.parts[part] for part in one.parts})},
            outcomes=tuple(outcomes),
            series=tuple(series),
        )
