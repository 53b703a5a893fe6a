"""From settings to a risk ready to be measured: prompts read, split without overlap, screened on the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from compose.base import Base
from compose.digest import hash_order
from compose.errors import Rejected
from compose.evaluate.judges import Judge
from compose.evaluate.judges.adapters import judge_of
from compose.evaluate.prompts import Prompt, digest_of, make_prompt, normal_form, unique
from compose.evaluate.risks.kinds import RISK_KINDS, RiskKind
from compose.evaluate.risks.screen import Screening, base_scores, worst
from compose.evaluate.risks.spec import RiskSpec
from compose.evaluate.sources import PromptSource, read_texts


@dataclass(frozen=True)
class Risk:
    """A risk ready to be trained for and measured.

    Attributes:
        name: Its name everywhere in a run.
        train: Prompts to train on. They are in a random order, so the first n are a fair sample.
        test: Prompts to measure with, none of which is in `train`; in a random order too.
        judge: Who scores completions.
        spec: The settings.
        duplicates: How many prompts were left out because an equal one came before.
        screening: What the base did on train and test candidates; empty when there was no screening.
    """

    name: str
    train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    judge: Judge
    spec: RiskSpec
    duplicates: int = 0
    screening: tuple[Screening, ...] = ()

    @property
    def kind(self) -> RiskKind:
        """What the risk's kind says: headline metric, direction, and how scores become metrics."""
        return RISK_KINDS[self.spec.kind]

    @property
    def headline(self) -> str:
        """Name of the metric that safety is made from."""
        return self.kind.headline

    @property
    def test_digest(self) -> str:
        """Digest of the test prompts, order included."""
        return digest_of(self.test)


def load_risk(spec: RiskSpec, base: Base | None = None, *, cache: Path | None = None) -> Risk:
    """Return the risk with its train and test prompts.

    Candidates are split by a hash of their words (of their group, with `by_group`) in the ratio of `n_test`
    to `n_train`, and each side is then screened by itself: whether a prompt is a test prompt never depends on
    a model.

    Args:
        spec: The settings.
        base: The unpatched base; needed only for screening.
        cache: Where prompt files and screening scores are kept; the usual cache when None.

    Raises:
        Rejected: `prompts-empty`, `prompts-overlap`, `prompts-too-few`, `prompts-unreadable`, `judge-silent`,
            or what fetching an asset raises.
    """
    read = _read(spec, spec.prompts, cache)
    prompts = unique(read)
    duplicates = len(read) - len(prompts)
    if spec.test_prompts:
        read = _read(spec, spec.test_prompts, cache)
        pools = (_shuffled(prompts, spec.split_seed), _shuffled(unique(read), spec.split_seed))
        duplicates += len(read) - len(pools[1])
    else:
        pools = split(spec, prompts)
    _refuse_overlap(spec, *pools)
    judge = judge_of(spec.judge)
    train, first = _choose(spec, base, judge, "train", pools[0], spec.n_train, cache)
    test, second = _choose(spec, base, judge, "test", pools[1], spec.n_test, cache)
    reports = tuple(report for report in (first, second) if report is not None)
    return Risk(spec.name, tuple(train), tuple(test), judge, spec, duplicates, reports)


def _read(spec: RiskSpec, sources: Sequence[PromptSource], cache: Path | None) -> list[Prompt]:
    """Return every prompt of the sources, duplicates included."""
    texts = [pair for source in sources for pair in read_texts(source, cache=cache)]
    if not texts:
        raise Rejected(
            "prompts-empty",
            subject=f"risk {spec.name}",
            expected="at least one prompt",
            got=f"none from {len(sources)} source(s)",
            fix="correct the sources of the risk (their file, column or where)",
        )
    return [make_prompt(text, chat=spec.chat, group=group) for text, group in texts]


def _shuffled(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    by_id = {prompt.id: prompt for prompt in prompts}
    return [by_id[key] for key in hash_order(by_id, seed)]


def split(spec: RiskSpec, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
    """Return (train, test) candidates: all prompts, in the ratio of the sizes asked for, in hash order.

    How many of them are screened makes no difference: of one source, whatever is a test prompt at some ratio is one at
    every ratio with more of them, so that a patch of a small preset has not seen the test prompts of a suite.

    Raises:
        Rejected: `prompts-too-few`.
    """
    wanted = spec.n_train + spec.n_test
    pool = _shuffled(prompts, spec.split_seed)
    n_test = min(max(spec.n_test, round(len(pool) * spec.n_test / wanted)), len(pool) - spec.n_train)
    if not spec.by_group:
        train, test = pool[max(0, n_test) :], pool[: max(0, n_test)]
    else:
        sizes = {group: sum(p.group == group for p in pool) for group in {p.group for p in pool}}
        test_groups: set[str] = set()
        for group in hash_order(sizes, spec.split_seed):
            if sum(sizes[g] for g in test_groups) < n_test:
                test_groups.add(group)
        train = [p for p in pool if p.group not in test_groups]
        test = [p for p in pool if p.group in test_groups]
    if len(train) < spec.n_train or len(test) < spec.n_test:
        raise Rejected(
            "prompts-too-few",
            subject=f"risk {spec.name}",
            expected=f"n_train {spec.n_train} + n_test {spec.n_test} different prompts",
            got=f"{len(train)} + {len(test)} from {len(prompts)} different prompts",
            fix="lower n_train or n_test, or add prompts",
        )
    return train, test


def _refuse_overlap(spec: RiskSpec, train: Sequence[Prompt], test: Sequence[Prompt]) -> None:
    """Refuse a test prompt that is also a train prompt, whatever its case and spacing."""
    shared = _shared(train, test)
    if spec.n_train and shared:
        raise Rejected(
            "prompts-overlap",
            subject=f"risk {spec.name}",
            expected="no test prompt among the train prompts",
            got=f"{len(shared)} in both, first by id: {', '.join(shared[:3])}",
            fix="remove them from `prompts` or `test_prompts`, or give one source and let it be split",
        )


def refuse_shared_prompts(risks: Sequence[Risk]) -> None:
    """Refuse risks of which one is trained on prompts that another is tested with: an arm may train on both.

    Raises:
        Rejected: `prompts-overlap`.
    """
    for trained, tested in permutations(risks, 2):
        if shared := _shared(trained.train, tested.test):
            raise Rejected(
                "prompts-overlap",
                subject=f"risks {trained.name} and {tested.name}",
                expected=f"no test prompt of {tested.name} among the train prompts of {trained.name}",
                got=f"{len(shared)} in both, first by id: {', '.join(shared[:3])}",
                fix="give the risks sources of their own, or split one source alike: the same by_group and split_seed",
            )


def _shared(train: Sequence[Prompt], test: Sequence[Prompt]) -> list[str]:
    """Return the ids of the test prompts that are among the train prompts, whatever their case and spacing."""
    known = {normal_form(prompt.text) for prompt in train}
    return [prompt.id for prompt in test if normal_form(prompt.text) in known]


def _choose(
    spec: RiskSpec,
    base: Base | None,
    judge: Judge,
    side: str,
    pool: list[Prompt],
    n: int,
    cache: Path | None,
) -> tuple[list[Prompt], Screening | None]:
    """Return `n` prompts of a pool: the first, or those on which the base is worst."""
    if len(pool) < n:
        raise Rejected(
            "prompts-too-few",
            subject=f"risk {spec.name}, {side} prompts",
            expected=f"{n} different prompts",
            got=str(len(pool)),
            fix=f"lower n_{side}, or add prompts",
        )
    if spec.screen is None or n == 0:
        return pool[:n], None
    if base is None:
        raise Rejected(
            "settings-invalid",
            subject=f"risk {spec.name}",
            expected="a base model, since prompts are screened on it",
            got="none",
            fix="give load_risk a base, or set screen to null",
        )
    if spec.screen.candidates:
        wanted = spec.n_train + spec.n_test
        pool = pool[: max(n, round(spec.screen.candidates * n / wanted))]
    scores = base_scores(spec, spec.screen, base, judge, pool, cache)
    return worst(
        pool,
        scores,
        n=n,
        threshold=spec.threshold,
        at_least=spec.screen.at_least,
        subject=f"risk {spec.name}, {side} prompts",
    )
