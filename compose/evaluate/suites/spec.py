"""Settings of a suite: the records behind `conf/suite/*.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from compose.base_spec import BaseSpec
from compose.evaluate.risks.second import second_judge_faults
from compose.evaluate.risks.spec import Count, Name, RiskSpec
from compose.evaluate.utility import UtilitySpec
from compose.records import SETTINGS


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SuiteSpec:
    """What a patch is measured on, and who judges it.

    Attributes:
        name: Name of the settings file.
        title: What it measures, for people.
        risks: Its parts by name; train prompts are only split off so that no test prompt is one of them.
        second_judges: By part, a judge of another make, for no number should rest on one alone; None for none.
        utility: Perplexity of neutral text under the patch, and refusals of benign requests; None leaves them out.
        scorer: A fixed other model under which generations are read for fluency; None leaves that out.
        seed: Seed of all sampling noise; base and patches share it.
        together: Compositions measured in one pass, the base included.
    """

    name: Name
    title: str
    risks: Annotated[dict[Name, RiskSpec], Field(min_length=1)]
    second_judges: dict[Name, str | None] = field(default_factory=dict)
    utility: UtilitySpec | None = None
    scorer: BaseSpec | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    together: Count = 4

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse settings that are each right and do not fit together, all of them in one error."""
        if found := list(self._faults()):
            raise ValueError("; ".join(found))
        return self

    def _faults(self) -> Iterator[str]:
        """Yield what does not fit."""
        for taken in sorted({"benign", "neutral"} & set(self.risks)):
            yield f"risks.{taken}: a name that the utility measures use"
        for key, risk in self.risks.items():
            if risk.name != key:
                yield f"risks.{key}.name is {risk.name!r}"
        yield from second_judge_faults("second_judges", self.second_judges, self.risks)
