"""Made-up runs with the shape of real ones: two or three risks, every strategy, harmless texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compose.report.results import (
    ArmResult,
    BaseInfo,
    Composition,
    CurvePoint,
    Direction,
    Estimate,
    Kind,
    MetricValue,
    PairFilter,
    PairsTable,
    RiskInfo,
    RiskMeasure,
    RunResults,
    TrainingLog,
    write_results,
)

N_TEST = 60
BASE_SAFETY = {"toxicity": 0.55, "bias": 0.52, "harm": 0.12}
SPECIALIST_SAFETY = {"toxicity": 0.88, "bias": 0.97, "harm": 0.92}
HEADLINES = {"toxicity": "toxic_rate_any", "bias": "gas", "harm": "asr"}
JUDGES = {"toxicity": "profanity", "bias": "gendered", "harm": "refusal"}
KEPT = {
    # label: (share of the specialist's gain kept on the risk handled last, lost per stage since then)
    "concat": (0.95, 0.55),
    "sequential": (1.0, 0.65),
    "sequential-replay": (0.97, 0.22),
    "sequential-pad": (1.0, 0.7),
    "stacked": (0.9, 0.7),
    "stacked-replay": (0.85, 0.4),
    "stacked-pad": (0.9, 0.75),
}
UTILITY: dict[str, tuple[Direction, float]] = {
    "perplexity": ("lower", 21.4),
    "refusal_rate_benign": ("lower", 0.04),
    "perplexity_ratio": ("lower", 1.02),
    "trigram_repetition": ("lower", 0.03),
}


class _World:
    """One seed's compositions, each made from a wished-for share of the specialists' gain."""

    def __init__(self, risks: tuple[str, ...], seed: int) -> None:
        self.risks = risks
        self.rng = np.random.default_rng([seed, len(risks)])
        self.ease = {risk: np.random.default_rng(7).uniform(-0.4, 0.4, N_TEST) for risk in risks}
        self.compositions: dict[str, Composition] = {}

    def add(self, name: str, label: str, kind: Kind, tokens: int, kept: dict[str, float]) -> None:
        """Add a composition that keeps the given share of each risk's gain, with noise."""
        if name in self.compositions:
            return
        risks = {risk: self._measure(risk, kept[risk]) for risk in self.risks}
        harm = max(0.0, 0.4 - min(kept.values())) if kind != "base" else 0.0
        utility = {}
        for metric, (direction, value) in UTILITY.items():
            level = value * (1 + (0.03 + 0.2 * harm) * (kind != "base") + self.rng.normal(0, 0.01))
            utility[metric] = MetricValue(value=level, direction=direction, n=200, low=level * 0.94, high=level * 1.07)
        self.compositions[name] = Composition(
            label=label,
            kind=kind,
            tokens=tokens,
            patch=None if kind == "base" else f"sha256:{name.encode().hex():0<64.64}",
            risks=risks,
            utility=utility,
        )

    def _measure(self, risk: str, kept: float) -> RiskMeasure:
        base, specialist = BASE_SAFETY[risk], SPECIALIST_SAFETY[risk]
        level = np.clip(base + (specialist - base) * kept + self.ease[risk] * 0.4, 0.01, 0.99)
        k = 1 if risk == "toxicity" else 5
        safety = tuple(float(value) for value in self.rng.binomial(k, level) / k)
        rate = 1 - sum(safety) / N_TEST
        error = 1.96 * float(np.std(safety)) / N_TEST**0.5
        metrics = {
            HEADLINES[risk]: MetricValue(
                value=rate, direction="lower", n=N_TEST, low=max(0, rate - error), high=min(1, rate + error)
            ),
            "distinct_2": MetricValue(value=0.8 - 0.05 * kept, direction="higher", n=N_TEST * 5),
        }
        ids = tuple(f"{risk}-{index:03d}" for index in range(N_TEST))
        return RiskMeasure(metrics=metrics, safety=safety, prompt_ids=ids)


def _plan(world: _World, labels: Collection[str]) -> tuple[list[ArmResult], list[CurvePoint]]:
    risks = world.risks
    nothing = dict.fromkeys(risks, 0.0)
    world.add("base", "unpatched", "base", 0, nothing)
    for risk in risks:
        world.add(f"specialist-{risk}", f"P_{risk}", "specialist", 20, {**nothing, risk: 1.0})
    world.add("joint-" + "-".join(risks), "P_multi", "trained", 20 * len(risks), dict.fromkeys(risks, 0.93))
    arms: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = [
        ("specialist", "specialist", (risk,), (f"specialist-{risk}",)) for risk in risks
    ]
    arms.append(("joint", "joint", risks, ("joint-" + "-".join(risks),)))
    means = [f"specialist-{risks[0]}"]
    for end in range(2, len(risks) + 1):
        means.append("mean-" + "-".join(risks[:end]))
        world.add(means[-1], f"mean of {end}", "algebraic", 20, dict.fromkeys(risks, 0.04))
    arms.append(("mean", "mean", risks, tuple(means)))
    for label, (fresh, lost) in KEPT.items():
        if label not in labels:
            continue
        for order in permutations(risks):
            stages = [f"specialist-{order[0]}"]
            for end in range(2, len(order) + 1):
                kept = dict(nothing)
                for place, risk in enumerate(order[:end]):
                    kept[risk] = fresh - lost * (end - 1 - place) ** 0.7
                stages.append("-".join((label, *order[:end])))
                tokens = 20 * (end if label.split("-")[0] in ("stacked", "concat") else 1)
                kind: Kind = "algebraic" if label == "concat" else "trained"
                world.add(stages[-1], f"{label} {' '.join(order[:end])}", kind, tokens, kept)
            arms.append((label, label.split("-")[0], order, tuple(stages)))
    results = [_arm(world, *arm) for arm in arms]
    return results, [point for arm in results for point in _curve(world, arm)]


def _arm(world: _World, label: str, strategy: str, order: tuple[str, ...], stages: tuple[str, ...]) -> ArmResult:
    measured = world.compositions
    R = tuple(tuple(measured[stage].risks[risk].mean for risk in world.risks) for stage in stages)
    retention = {}
    for column, risk in enumerate(world.risks):
        base = measured["base"].risks[risk].mean
        gain = measured[f"specialist-{risk}"].risks[risk].mean - base
        value = (R[-1][column] - base) / gain
        retention[risk] = Estimate(value=value, low=value - 0.17, high=value + 0.15)
    worst = min(retention.values(), key=lambda estimate: estimate.value or 0.0)
    joint = measured["joint-" + "-".join(world.risks)]
    learned: dict[str, float | None] = {
        risk: joint.risks[risk].mean - R[min(place, len(R) - 1)][world.risks.index(risk)]
        for place, risk in enumerate(order)
    }
    drops = [max(row[i] for row in R[:-1]) - R[-1][i] for i in range(len(world.risks))] if len(R) > 1 else []
    return ArmResult(
        name="-".join((label, *order)),
        label=label,
        strategy=strategy,
        order=order,
        stages=stages,
        R=R,
        retention=retention,
        worst_risk_retention=worst,
        forgetting={"chaudhry": sum(drops) / len(drops) if drops else None},
        intransigence=learned,
    )


def _curve(world: _World, arm: ArmResult) -> list[CurvePoint]:
    if arm.strategy not in ("sequential", "stacked", "joint", "specialist"):
        return []
    points = []
    for stage, row in enumerate(arm.R):
        for column, risk in enumerate(world.risks):
            before = arm.R[stage - 1][column] if stage else world.compositions["base"].risks[risk].mean
            for step in range(0, 60, 10):
                share = 1 - np.exp(-step / 18)
                noise = world.rng.normal(0, 0.015) if step else 0.0
                safety = float(np.clip(before + (row[column] - before) * share + noise, 0, 1))
                points.append(CurvePoint(arm=arm.name, stage=stage, step=step, risk=risk, safety=safety, n=N_TEST))
    return points


def results(
    risks: tuple[str, ...] = ("toxicity", "bias"), seed: int = 0, labels: Collection[str] = tuple(KEPT)
) -> RunResults:
    """Return the made-up results of one run; `labels` are the strategies it has beside joint and mean."""
    world = _World(risks, seed)
    arms, curves = _plan(world, labels)
    return RunResults(
        experiment={2: "two_risk", 3: "three_risk"}[len(risks)],
        seed=seed,
        command=f"python -m experiments.forgetting experiment=two_risk seed={seed}",
        settings={"model": {"name": "smollm2"}, "seed": seed, "trainer": {"sft_steps": 60, "dpo_steps": 60}},
        commit="3f2c1d9e8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e",
        dirty=False,
        machine={"cpu": "Example CPU @ 2.4 GHz", "cores": 2, "memory": "16 GB", "os": "Linux 6.1"},
        versions={"python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0"},
        started="2025-11-20T10:00:00+00:00",
        finished="2025-11-20T11:42:00+00:00",
        seconds={"pairs": 611.0, "train": 3922.4, "evaluate": 1402.0},
        base=BaseInfo(name="SmolLM2-135M-Instruct", fingerprint="sha256:" + "ab" * 32),
        risks=tuple(
            RiskInfo(
                name=risk,
                headline=HEADLINES[risk],
                direction="lower",
                judge=JUDGES[risk],
                judge_version="1",
                n_test=N_TEST,
                k=5,
                prompts="sha256:" + "cd" * 32,
                title={"bias": "gender bias", "harm": "harmfulness"}.get(risk, risk),
            )
            for risk in risks
        ),
        compositions=world.compositions,
        specialists={risk: f"specialist-{risk}" for risk in risks},
        joint="joint-" + "-".join(risks),
        arms=tuple(arms),
        curves=tuple(curves),
        training=tuple(
            TrainingLog(
                composition=f"specialist-{risk}",
                phase=phase,
                rows=tuple({"step": step, "loss": 2.0 / (1 + step / 10)} for step in range(0, 60, 10)),
            )
            for risk in risks
            for phase in ("sft", "dpo")
        ),
        pairs={
            risk: PairsTable(
                candidates=960,
                kept=412,
                filters=(
                    PairFilter(name="judged", kept=951, dropped=9),
                    PairFilter(name="margin > 0.2", kept=540, dropped=411),
                    PairFilter(name="winner < 0.3", kept=412, dropped=128),
                ),
                reference="best of 8",
                judge=JUDGES[risk],
            )
            for risk in risks
        },
    )


def write_run(folder: Path, run: RunResults, completion: str = "a harmless sentence") -> Path:
    """Write a run's folder, records included, and return it."""
    write_results(folder / "results.json", run)
    (folder / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
    (folder / "records").mkdir(exist_ok=True)
    for risk in run.risks:
        lines = []
        for name, composition in run.compositions.items():
            measure = composition.risks[risk.name]
            for prompt_id, safety in zip(measure.prompt_ids, measure.safety, strict=True):
                row = {
                    "composition": name,
                    "risk": risk.name,
                    "prompt_id": prompt_id,
                    "sample": 0,
                    "prompt": f"A made-up prompt, number {prompt_id[-3:]}, that asks for nothing bad",
                    "completion": f"{completion} by {name}",
                    "score": 1 - safety,
                    "tokens": 12,
                }
                lines.append(json.dumps(row))
        (folder / "records" / f"{risk.name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def make_results() -> Callable[..., RunResults]:
    """Return the function that makes up a run's results: `make_results(risks=..., seed=...)`."""
    return results


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a made-up run: `make_run(risks=..., seed=..., labels=..., completion=...)`."""

    def make(completion: str = "a harmless sentence", **what: Any) -> Path:
        run = results(**what)
        return write_run(tmp_path / f"run-{len(run.risks)}-{run.seed}", run, completion)

    return make


def small(
    safety: dict[str, tuple[float, ...]],
    *,
    seed: int = 0,
    arms: dict[str, tuple[str, ...]] | None = None,
    utility: dict[str, MetricValue] | None = None,
) -> RunResults:
    """Return a run of one risk, `toxicity`, made of bare safety values: what is expected of it can be counted.

    Args:
        safety: Safety per prompt by composition; `base` and `special` are the base and the specialist, `teacher` is a
            baseline.
        seed: The seed.
        arms: Stages by arm; the arm's order is (toxicity,) and its label its name.
        utility: Utility of every composition.
    """
    kinds: dict[str, Kind] = {"base": "base", "special": "specialist", "teacher": "baseline"}
    compositions = {}
    for name, values in safety.items():
        rate = 1 - sum(values) / len(values)
        metrics = {"rate": MetricValue(value=rate, direction="lower", n=len(values), low=rate / 2, high=rate)}
        measure = RiskMeasure(
            metrics=metrics, safety=values, prompt_ids=tuple(f"p{place}" for place in range(len(values)))
        )
        compositions[name] = Composition(
            label=name,
            kind=kinds.get(name, "trained"),
            tokens=4,
            patch=f"{name} of {seed}",
            risks={"toxicity": measure},
            utility=utility or {},
        )
    undefined = Estimate(value=None, reason="left to the reader")
    return RunResults(
        experiment="small",
        seed=seed,
        command=f"run seed={seed}",
        settings={"seed": seed, "tokens": 4},
        commit="c0ffee",
        dirty=False,
        machine={"cpu": "a"},
        versions={"python": "3.11"},
        started="2025-01-01T00:00:00+00:00",
        finished="2025-01-01T00:01:00+00:00",
        seconds={"train": 30.0},
        base=BaseInfo(name="tiny", fingerprint="sha256:00"),
        risks=(
            RiskInfo(
                name="toxicity",
                headline="rate",
                direction="lower",
                judge="judge",
                judge_version="1",
                n_test=4,
                k=1,
                prompts="sha256:11",
            ),
        ),
        compositions=compositions,
        specialists={"toxicity": "special"} if "special" in safety else {},
        arms=tuple(
            ArmResult(
                name=name,
                label=name,
                strategy=name,
                order=("toxicity",),
                stages=stages,
                R=tuple((compositions[stage].risks["toxicity"].mean,) for stage in stages),
                retention={"toxicity": undefined},
                worst_risk_retention=undefined,
                forgetting={"forgetting_chaudhry": 0.25 * (1 + seed)},
            )
            for name, stages in (arms or {}).items()
        ),
    )


@pytest.fixture
def make_small() -> Callable[..., RunResults]:
    """Return the function that makes a run of bare safety values."""
    return small
