"""What a measurement is: metrics and per-prompt safety of one composition, as records that survive JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compose.errors import Rejected
from compose.evaluate.metrics import Metric

BASE = "base"
"""What the unpatched base is called among compositions."""


@dataclass(frozen=True)
class RiskResult:
    """One composition on one risk's test prompts.

    Attributes:
        risk: Name of the risk.
        headline: Name of the metric that safety is made from; the mean of `safety` is one minus its value.
        metrics: Every metric by name, degeneracy of the generations included.
        safety: Per prompt, in [0, 1], higher is safer.
        prompt_ids: The prompt behind each entry of `safety`. A prompt of which no sample could be judged is
            missing.
        records: Per prompt and sample: prompt_id, group, sample, prompt, completion, score (None: empty, or not
            judged), truncated (whether the token limit cut it off; None: not known).
        unjudged: How many completions have no score, empty ones included; they are in no metric of the judge.
        groups: What each prompt of `prompt_ids` has in common with others, where that makes them dependent (the
            profession it is about); None where each prompt stands for itself.
        masses: By prompt id, the probability of the female and of the male words as the next token; empty for kinds
            that do not ask for it.
        second: The same by a second judge, its headline metric alone and no records; None where there is none.
    """

    risk: str
    headline: str
    metrics: dict[str, Metric]
    safety: list[float]
    prompt_ids: list[str]
    records: list[dict[str, Any]] = field(default_factory=list)
    unjudged: int = 0
    groups: list[str] | None = None
    masses: dict[str, list[float]] = field(default_factory=dict)
    second: RiskResult | None = None

    @property
    def mean_safety(self) -> float:
        """The mean safety over prompts, in [0, 1].

        Raises:
            Rejected: `judge-silent` when no completion has a verdict: a model that says nothing is not safe.
        """
        if not self.safety:
            raise Rejected(
                "judge-silent",
                subject=f"risk {self.risk}",
                expected="at least one completion with a verdict",
                got=f"{self.unjudged} completions, all of them empty",
                fix="look at the patch: it makes the model say nothing; train it more gently, or leave it out",
            )
        return sum(self.safety) / len(self.safety)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, texts included."""
        return {
            "risk": self.risk,
            "headline": self.headline,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "safety": self.safety,
            "prompt_ids": self.prompt_ids,
            "records": self.records,
            "unjudged": self.unjudged,
            "groups": self.groups,
            "masses": self.masses,
            "second": None if self.second is None else self.second.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RiskResult:
        """Return the result that `to_json` wrote."""
        metrics = {name: Metric.from_json(metric) for name, metric in data["metrics"].items()}
        second = data.get("second")  # measurements of before had none
        return cls(**{**data, "metrics": metrics, "second": None if second is None else cls.from_json(second)})


@dataclass(frozen=True)
class Passages:
    """The held-out passages behind a perplexity: what intervals of its ratio to the base's are made from.

    Attributes:
        ids: The passages.
        nll: Negative log-likelihood of each passage's scored tokens, summed, in nats.
        tokens: How many tokens of it were scored.
    """

    ids: list[str]
    nll: list[float]
    tokens: list[int]

    def to_json(self) -> dict[str, Any]:
        """Return the passages as JSON values."""
        return {"ids": self.ids, "nll": self.nll, "tokens": self.tokens}


@dataclass(frozen=True)
class Measurement:
    """Everything measured about one composition.

    Attributes:
        risks: By name.
        utility: Utility metrics by name; empty when utility was not measured.
        passages: Behind the perplexity; None when utility was not measured.
        utility_records: Replies to benign requests, in the form of `RiskResult.records`.
    """

    risks: dict[str, RiskResult]
    utility: dict[str, Metric] = field(default_factory=dict)
    passages: Passages | None = None
    utility_records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unjudged_benign(self) -> int:
        """How many replies to benign requests the judge could not judge."""
        return sum(record["score"] is None for record in self.utility_records)

    def to_json(self) -> dict[str, Any]:
        """Return the measurement as JSON values, texts included."""
        return {
            "risks": {name: risk.to_json() for name, risk in self.risks.items()},
            "utility": {name: metric.to_json() for name, metric in self.utility.items()},
            "passages": None if self.passages is None else self.passages.to_json(),
            "utility_records": self.utility_records,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Return the measurement that `to_json` wrote."""
        passages = data["passages"]
        return cls(
            risks={name: RiskResult.from_json(risk) for name, risk in data["risks"].items()},
            utility={name: Metric.from_json(metric) for name, metric in data["utility"].items()},
            passages=None if passages is None else Passages(**passages),
            utility_records=list(data["utility_records"]),
        )


@dataclass(frozen=True)
class Paired:
    """Safety of several compositions on the prompts that all of them have, in one order.

    Attributes:
        safety: A row a composition, [compositions][prompts].
        groups: The group of each of these prompts; None where each stands for itself.
    """

    safety: list[list[float]]
    groups: list[str] | None


def paired(results: Sequence[RiskResult]) -> Paired:
    """Return what pairs of several results on one risk."""
    tables = [dict(zip(result.prompt_ids, result.safety, strict=True)) for result in results]
    first = results[0]
    common = [key for key in first.prompt_ids if all(key in table for table in tables)]
    groups = None if first.groups is None else dict(zip(first.prompt_ids, first.groups, strict=True))
    return Paired(
        [[table[key] for key in common] for table in tables],
        None if groups is None else [groups[key] for key in common],
    )
