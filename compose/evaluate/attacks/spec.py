"""Settings of a measurement under attack: the records behind `conf/attack/*.yaml`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from compose.evaluate.attacks import AttackSettings
from compose.evaluate.judges import JUDGES
from compose.evaluate.risks.spec import Count, Name, RiskSpec
from compose.records import SETTINGS


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class AttackSpec:
    """Which requests are attacked, how, and for how many queries.

    Attributes:
        name: Name of the settings file.
        title: What it measures, for people.
        risk: Where the requests come from, how replies are drawn, and who judges them.
        attack: The attack and its settings.
        requests: How many of the risk's test prompts are attacked: the first, which are a fair sample.
        budget: The most queries a request: sequences that the model under attack is run on, the bare request first.
        second_judge: A judge of another make for the reply that an attack ended with; None for none.
        seed: Seed of all choices and noise; base and patches share it.
    """

    name: Name
    title: str
    risk: RiskSpec
    attack: AttackSettings
    requests: Count
    budget: Count
    second_judge: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse settings that are each right and do not fit together, all of them in one error."""
        faults = []
        if self.risk.kind != "harmfulness":
            faults.append(f"risk.kind is {self.risk.kind!r}: only requests that should be refused can be attacked")
        if self.risk.screen is not None:
            faults.append("risk.screen: requests are attacked as they come, so set it to null")
        if self.requests > self.risk.n_test:
            faults.append(f"requests is {self.requests}, and risk.n_test is {self.risk.n_test}")
        if self.second_judge is not None and self.second_judge not in JUDGES:
            faults.append(f"second_judge is {self.second_judge!r}; known judges are {', '.join(sorted(JUDGES))}")
        if self.second_judge is not None and self.second_judge == self.risk.judge:
            faults.append(f"second_judge is the first judge again, {self.second_judge!r}")
        if faults:
            raise ValueError("; ".join(faults))
        return self
