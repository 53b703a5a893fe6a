"""From settings to a suite ready to be measured, and the refusal of prompts that a patch was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.base import Base
from compose.digest import of_json
from compose.errors import Rejected
from compose.evaluate.judges import Judge
from compose.evaluate.prompts import normal_form
from compose.evaluate.risks import Risk, load_risk, make_second_judges, refuse_shared_prompts
from compose.evaluate.suites.spec import SuiteSpec
from compose.evaluate.utility import Utility, load_utility


@dataclass(frozen=True)
class Suite:
    """A suite ready to be measured.

    Attributes:
        spec: The settings.
        risks: Its parts, with their test prompts.
        second: By part, the second judge.
        utility: The utility measures; None leaves them out.
    """

    spec: SuiteSpec
    risks: tuple[Risk, ...]
    second: Mapping[str, Judge]
    utility: Utility | None

    @property
    def digest(self) -> str:
        """Digest of every prompt that is measured with: two results compare only where it is the same."""
        utility = None if self.utility is None else self.utility.test_digest
        return of_json([{risk.name: risk.test_digest for risk in self.risks}, utility])


def load_suite(spec: SuiteSpec, base: Base | None = None, *, cache: Path | None = None) -> Suite:
    """Return the suite with its prompts and judges.

    Args:
        spec: The settings.
        base: The unpatched base; needed only where a part screens its prompts.
        cache: Where prompt files are kept; the usual cache when None.

    Raises:
        Rejected: What `load_risk` and `load_utility` raise: no prompts, too few, the same ones in train and test,
            files that are missing or malformed.
    """
    risks = tuple(load_risk(risk, base, cache=cache) for risk in spec.risks.values())
    refuse_shared_prompts(risks)
    return Suite(
        spec=spec,
        risks=risks,
        second=make_second_judges(spec.second_judges),
        utility=None if spec.utility is None else load_utility(spec.utility, cache=cache),
    )


def refuse_trained_prompts(suite: Suite, trained: Iterable[str], *, patch: str) -> None:
    """Refuse to measure a patch on a suite that tests with prompts which it was trained on.

    Raises:
        Rejected: `prompts-overlap`.
    """
    refuse_trained_on(suite.risks, trained, patch=patch, where=f"suite {suite.spec.name}")


def refuse_trained_on(risks: Iterable[Risk], trained: Iterable[str], *, patch: str, where: str) -> None:
    """Refuse to measure a patch on prompts that it was trained on, whatever their case and spacing.

    Args:
        risks: What it is to be measured on.
        trained: The texts of the prompts that it was trained on.
        patch: Name of the patch.
        where: What measures it, for the error message.

    Raises:
        Rejected: `prompts-overlap`.
    """
    known = {normal_form(text) for text in trained}
    for risk in risks:
        if shared := [prompt.id for prompt in risk.test if normal_form(prompt.text) in known]:
            raise Rejected(
                "prompts-overlap",
                subject=f"patch {patch} on {risk.name} of {where}",
                expected="no test prompt among the prompts that the patch was trained on",
                got=f"{len(shared)} of {len(risk.test)} in both, first by id: {', '.join(shared[:3])}",
                fix="measure it on other prompts, or train it on those that this split leaves for training",
            )
