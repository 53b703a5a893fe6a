"""Screening: a risk that the base does not show can be neither removed nor forgotten, so prompts are chosen.

The base's rate on the chosen prompts is higher than on all of them: that is the purpose, and it means that
the numbers say what patches do where the base misbehaves, not how often it misbehaves in general. Both rates
are kept in `Screening`. The choice is made on completions that no measurement ever sees (other noise), so a
prompt that was unsafe by luck falls back in the base's own row like in everybody else's; the difference
between base and patch is not biased by the choice. With greedy decoding there is no noise, and the base's
rate on the kept prompts is what the choice made it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import TypeAdapter

from compose import durable
from compose.assets import cache_root
from compose.base import Base, arithmetic
from compose.digest import of_json
from compose.engine import prefix_cache
from compose.errors import Rejected
from compose.evaluate.judges import Judge, Judged, judge_all
from compose.evaluate.metrics import unsafe_share
from compose.evaluate.prompts import Prompt, digest_of
from compose.evaluate.sampling import sample_completions, texts_of

if TYPE_CHECKING:
    from compose.evaluate.risks.spec import RiskSpec, Screen

Scores = dict[str, list[float | None]]


@dataclass(frozen=True)
class Screening:
    """What screening found: mean share of the base's unsafe completions, on all candidates and on the kept.

    Attributes:
        candidates: How many prompts were tried.
        kept: How many were kept.
        rate_candidates: Mean share over the candidates.
        rate_kept: Mean share over the kept; a measurement will find less, by regression to the mean.
    """

    candidates: int
    kept: int
    rate_candidates: float
    rate_kept: float


def base_scores(
    spec: RiskSpec,
    screen: Screen,
    base: Base,
    judge: Judge,
    prompts: Sequence[Prompt],
    cache: Path | None = None,
) -> Scores:
    """Return the judge's scores of the unpatched base's completions by prompt id, from the disk when known.

    Raises:
        Rejected: `judge-silent`; `disk-full` or `read-only` when the cache cannot be written.
    """
    key = of_json(
        {
            "base": base.fingerprint,
            "arithmetic": arithmetic(base),
            "prompts": digest_of(prompts),
            "judge": [judge.name, judge.version],
            "sampling": TypeAdapter(type(spec.sampling)).dump_python(spec.sampling, mode="json"),
            "samples": screen.samples,
            "seed": screen.seed,
        }
    )
    path = cache_root(cache) / "screening" / f"{key.removeprefix('sha256:')}.json"
    known = _read(path, prompts, screen.samples)
    if known is not None:
        return known
    with torch.no_grad():
        drawn = sample_completions(
            base,
            prefix_cache(base.model, [None]),
            prompts,
            spec.sampling,
            samples=screen.samples,
            seed=screen.seed,
            purpose="screen",
            label=f"screen {spec.name}",
        )[0]
    texts = texts_of(drawn)
    items = [Judged(p.text, text) for p, samples in zip(prompts, texts, strict=True) for text in samples]
    flat = iter(judge_all(judge, items, subject=f"{spec.name}, unpatched base"))
    scores: Scores = {prompt.id: [next(flat) for _ in range(screen.samples)] for prompt in prompts}
    durable.write_json(path, scores)
    return scores


def _read(path: Path, prompts: Sequence[Prompt], samples: int) -> Scores | None:
    """Return cached scores, or None when none fit: a damaged file is worth no more than a lost one."""
    try:
        scores = TypeAdapter(Scores).validate_python(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
    fits = scores.keys() == {p.id for p in prompts} and all(len(s) == samples for s in scores.values())
    return scores if fits else None


def worst(
    prompts: Sequence[Prompt], scores: Scores, *, n: int, threshold: float, at_least: float, subject: str
) -> tuple[list[Prompt], Screening]:
    """Return the `n` prompts with the largest share of unsafe completions, in the order given, and the rates.

    Ties are broken by the mean score and then by the id. A prompt without any score is no candidate.

    Raises:
        Rejected: `prompts-too-few` when fewer than `n` prompts reach `at_least`.
    """
    known = {p.id: [s for s in scores[p.id] if s is not None] for p in prompts}
    share = {key: unsafe_share(found, threshold) for key, found in known.items() if found}
    order = sorted(share, key=lambda key: (-share[key], -sum(known[key]) / len(known[key]), key))
    chosen = [key for key in order if share[key] >= at_least][:n]
    if len(chosen) < n:
        raise Rejected(
            "prompts-too-few",
            subject=subject,
            expected=f"{n} prompts on which the base is unsafe in {at_least:.0%} of its completions or more",
            got=f"{len(chosen)} of {len(prompts)} candidates",
            fix="lower screen.at_least, n_train or n_test, add prompts, or take a base that shows the risk",
        )
    report = Screening(
        candidates=len(share),
        kept=len(chosen),
        rate_candidates=sum(share.values()) / max(1, len(share)),
        rate_kept=sum(share[key] for key in chosen) / max(1, len(chosen)),
    )
    kept = set(chosen)
    return [p for p in prompts if p.id in kept], report
