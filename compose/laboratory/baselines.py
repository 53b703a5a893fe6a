"""What a patch is compared with and is no patch: the base under an instruction, and the reference itself.

Both only write text: they answer the same test prompts, as often, and are judged alike; their answers are kept with
all other generations, so that none is drawn twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compose.evaluate.results import Measurement
from compose.evaluate.risks import Risk
from compose.evaluate.run import summarise
from compose.training.references import Instructed, Reference, ReferenceContext, make_reference

INSTRUCTED, REFERENCE = "instructed", "reference"
LABELS = {INSTRUCTED: "the base, instructed", REFERENCE: "the reference"}


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What one baseline did.

    Attributes:
        label: Its name for people.
        measurement: On every risk.
        cost: What it took, by name: `parameters`, `train_seconds`, `artifact_bytes`; empty where nothing was trained.
    """

    label: str
    measurement: Measurement
    cost: Mapping[str, float] = field(default_factory=dict)


Baselines = Mapping[str, Mapping[str, Reference]]
"""Who answers, by composition and risk."""


def instructed(told: Mapping[str, Instructed], contexts: Mapping[str, ReferenceContext]) -> dict[str, Reference]:
    """Return the base under an instruction, by risk.

    Args:
        told: What it is told, for every risk of `contexts`.
        contexts: By risk, what a reference may draw on.
    """
    return {risk: make_reference(told[risk], context) for risk, context in contexts.items()}


def measure_baselines(
    baselines: Baselines, risks: Sequence[Risk], *, seed: int, samples: int | None = None
) -> dict[str, Baseline]:
    """Return what each baseline did on every risk; none has next-token masses or utility.

    A reference that has fewer answers to a prompt than were asked for is measured on those it has, and one that has
    none is not measured on that prompt.

    Args:
        baselines: Who answers, by composition and risk.
        risks: What is measured.
        seed: Seed of the answers.
        samples: Answers a prompt instead of what each risk says; greedy risks keep to one.

    Raises:
        Rejected: `judge-silent`, and what a reference raises.
    """
    found = {}
    for name, by_risk in baselines.items():
        results = {}
        for risk in risks:
            greedy = risk.spec.sampling.temperature == 0
            k = risk.spec.samples if samples is None or greedy else samples
            answers = by_risk[risk.name].respond(risk.test, k, risk.spec.sampling, seed)
            texts = [[response.text for response in responses] for responses in answers]
            results[risk.name] = summarise(risk, texts, None, composition=name)
        found[name] = Baseline(label=LABELS[name], measurement=Measurement(risks=results))
    return found
