"""Measuring: every composition answers the same prompts with the same noise, all in shared batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from compose.base import Base
from compose.engine import prefix_cache
from compose.engine.prefix import PrefixCache
from compose.evaluate.degeneracy import degeneracy
from compose.evaluate.judging import judge_texts
from compose.evaluate.metrics import over_groups
from compose.evaluate.results import Measurement, RiskResult
from compose.evaluate.risks import Risk
from compose.evaluate.risks.gender_bias import NextTokenMass, next_token_mass
from compose.evaluate.sampling import cuts_of, sample_completions, texts_of
from compose.evaluate.utility import Utility, UtilityResult, measure_utility


@torch.no_grad()
def measure(
    base: Base,
    prefixes: Mapping[str, Float[Tensor, "tokens dim"] | None],
    risks: Sequence[Risk],
    utility: Utility | None,
    *,
    seed: int,
    samples: int | None = None,
    batch_size: int = 128,
) -> dict[str, Measurement]:
    """Return the measurement of every composition by its name.

    Args:
        base: The frozen model.
        prefixes: Compositions by name; None is the unpatched base.
        risks: What is measured.
        utility: The utility measures, or None to leave them out.
        seed: Seed of all sampling noise. The same for every composition: differences between them are paired.
        samples: Completions a prompt instead of what each risk says; greedy risks keep to one.
        batch_size: Rows in one batch.

    Raises:
        Rejected: `judge-silent` when a judge gives nothing usable for a composition.
    """
    if not prefixes:
        return {}
    names = list(prefixes)
    cache = prefix_cache(base.model, list(prefixes.values()))
    by_risk = {risk.name: _measure_risk(base, names, cache, risk, seed, samples, batch_size) for risk in risks}
    useful: list[UtilityResult] | None = None
    if utility is not None:
        useful = measure_utility(base, names, cache, utility, seed=seed, batch_size=batch_size)
    return {
        name: Measurement(
            risks={risk: results[place] for risk, results in by_risk.items()},
            utility={} if useful is None else useful[place].metrics,
            passages=None if useful is None else useful[place].passages,
            utility_records=[] if useful is None else useful[place].records,
        )
        for place, name in enumerate(names)
    }


def _measure_risk(
    base: Base,
    names: Sequence[str],
    cache: PrefixCache,
    risk: Risk,
    seed: int,
    samples: int | None,
    batch_size: int,
) -> list[RiskResult]:
    """Return one risk's result for each composition of the cache."""
    greedy = risk.spec.sampling.temperature == 0
    k = risk.spec.samples if samples is None or greedy else samples
    drawn = sample_completions(
        base,
        cache,
        risk.test,
        risk.spec.sampling,
        samples=k,
        seed=seed,
        label=f"measure {risk.name}",
        batch_size=batch_size,
    )
    masses: Sequence[NextTokenMass | None] | None = None
    if risk.kind.wants_next_token:
        masses = next_token_mass(base, cache, risk.test, batch_size=batch_size)
    if masses is None:
        masses = [None] * len(names)
    return [
        summarise(risk, texts_of(completions), mass, composition=name, truncated=cuts_of(completions))
        for name, completions, mass in zip(names, drawn, masses, strict=True)
    ]


def summarise(
    risk: Risk,
    texts: Sequence[Sequence[str]],
    mass: NextTokenMass | None,
    *,
    composition: str,
    truncated: Sequence[Sequence[bool]] | None = None,
) -> RiskResult:
    """Return the result of completions given as [prompt][sample], judged here.

    An empty completion has no score and is in no rate of the judge; `unjudged` and `empty_rate` count it.

    Args:
        risk: Whose prompts they answer.
        texts: The completions.
        mass: The next-token masses, where the kind wants them.
        composition: Who wrote them.
        truncated: Which of them the token limit cut off; None where nobody knows.

    Raises:
        Rejected: `judge-silent`.
    """
    subject = f"risk {risk.name}, composition {composition}"
    scores, records, unjudged = judge_texts(risk.judge, risk.test, texts, subject=subject, truncated=truncated)
    judged = {p.id: known for p, s in zip(risk.test, scores, strict=True) if (known := _known(s))}
    threshold = risk.spec.threshold
    metrics = risk.kind.metrics(list(judged.values()), threshold, mass) | degeneracy(texts)
    safety = [1 - risk.kind.danger(known, threshold) for known in judged.values()]
    groups = [prompt.group for prompt in risk.test if prompt.id in judged] if risk.spec.by_group else None
    if groups is not None:
        metrics[risk.headline] = over_groups(metrics[risk.headline], [1 - value for value in safety], groups)
    return RiskResult(
        risk=risk.name,
        headline=risk.headline,
        metrics=metrics,
        safety=safety,
        prompt_ids=list(judged),
        records=records,
        unjudged=unjudged,
        groups=groups,
        masses={} if mass is None else _by_prompt(risk, mass),
    )


def _by_prompt(risk: Risk, mass: NextTokenMass) -> dict[str, list[float]]:
    """Return the masses behind each prompt, so that every number made of them can be made again."""
    return {p.id: [f, m] for p, f, m in zip(risk.test, mass.female, mass.male, strict=True)}


def _known(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]
