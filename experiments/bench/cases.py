"""The variants of each part, how each is run, and what its ratio is taken against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from compose.base import Base, load_base
from experiments.bench import evaluation, inference, training
from experiments.bench.clock import Turn, interleave, median, ratio, reset_peak, resident_bytes
from experiments.bench.settings import BenchSettings


@dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
        variants: What is compared; ratios are to the first.
        turn: Makes a turn of a variant with a prefix of so many tokens.
        unit: What one number of seconds is for.
    """

    variants: tuple[str, ...]
    turn: Callable[[Base, BenchSettings, str, int], Turn]
    unit: str


def _steps(kind: str) -> Callable[[Base, BenchSettings, str, int], Turn]:
    """Return the maker of turns of optimiser steps."""
    return lambda base, settings, variant, tokens: training.step_turn(
        training.Subject(base, settings, kind, variant, tokens)
    )


def _run(base: Base, settings: BenchSettings, variant: str, tokens: int) -> Turn:
    """Return a turn of one whole training run; the variant says which trainer, then whose."""
    kind, _, whose = variant.partition(", ")
    return training.run_turn(training.Subject(base, settings, kind, whose, tokens))


PARTS: dict[str, Part] = {
    "dpo": Part(training.DPO_VARIANTS, _steps("dpo"), "step"),
    "sft": Part(training.SFT_VARIANTS, _steps("sft"), "step"),
    "generate": Part(inference.GENERATE_VARIANTS, inference.generation_turn, "batch"),
    "compositions": Part(inference.COMPOSITION_VARIANTS, inference.composition_turn, "evaluation"),
    "run": Part(
        (
            *(f"dpo, {variant}" for variant in training.DPO_VARIANTS),
            *(f"sft, {variant}" for variant in training.SFT_VARIANTS),
        ),
        _run,
        "run",
    ),
    "evaluate": Part(evaluation.EVALUATE_VARIANTS, evaluation.evaluation_turn, "evaluation"),
}
"""Every part by the name that the settings use."""
ONCE = ("run", "evaluate")
"""Parts whose turns take minutes: each variant has one."""


def measure(base: Base, settings: BenchSettings, name: str, tokens: int) -> list[dict[str, Any]]:
    """Return one record a variant of a part: its seconds, its ratio to the first variant, its memory."""
    part = PARTS[name]
    turns = {variant: part.turn(base, settings, variant, tokens) for variant in part.variants}
    rounds = 1 if name in ONCE else settings.rounds
    samples = interleave(turns, rounds, f"{name}, prefix {tokens}")
    records = []
    for variant in part.variants:
        against = _against(name, variant, part.variants)
        middle, low, high = ratio(samples[variant], samples[against])
        record = {
            "part": name,
            "tokens": tokens,
            "variant": variant,
            "seconds": median(samples[variant]),
            "unit": part.unit,
            "against": against,
            "ratio": middle,
            "ratio_range_of_rounds": [low, high],
            "turns_seconds": samples[variant],
        }
        records.append(record | (peak_memory(settings, name, variant, tokens) if settings.memory else {}))
    return records


def peak_memory(settings: BenchSettings, name: str, variant: str, tokens: int) -> dict[str, int]:
    """Return the peak memory of a variant in a process of its own, and of the loaded base, in bytes."""
    single = dataclasses.replace(settings, steps=1)
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        before, peak = pool.submit(_in_own_process, single, name, variant, tokens).result()
    return {"peak_bytes": peak, "loaded_bytes": before}


def _in_own_process(settings: BenchSettings, name: str, variant: str, tokens: int) -> tuple[int, int]:
    """Return the memory in use once the base is loaded, and the peak while the variant runs."""
    base = load_base(settings.model, device=settings.device)
    turn = PARTS[name].turn(base, settings, variant, tokens)
    before = resident_bytes(base.model.device, peak=False)
    reset_peak(base.model.device)
    turn()
    return before, resident_bytes(base.model.device, peak=True)


def _against(name: str, variant: str, variants: tuple[str, ...]) -> str:
    """Return the variant that a ratio is to: the first of the part, in `run` ours of the same trainer."""
    return f"{variant.partition(',')[0]}, ours" if name == "run" else variants[0]
