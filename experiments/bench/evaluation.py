"""A whole evaluation of a patch beside its base: `compose evaluate`, and the plain loop, one answer at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from compose.base import Base, load_base, stop_ids
from compose.base_spec import read_spec
from compose.evaluate.judges import Judged
from compose.evaluate.prompts import render
from compose.evaluate.risks import Risk
from compose.evaluate.suites import SuiteSpec, load_suite
from compose.laboratory.evaluating import evaluate
from compose.progress import bar
from compose.settings import suite
from experiments.bench.clock import Turn, now
from experiments.bench.inference import behind_peft
from experiments.bench.inputs import random_prefix, saved_patch
from experiments.bench.settings import BenchSettings

EVALUATE_VARIANTS = ("compose evaluate", "plain loop")


def evaluation_turn(base: Base, settings: BenchSettings, variant: str, tokens: int) -> Turn:
    """Return a turn of one whole evaluation, from loading the base to judged completions; nothing is kept from before.

    Next-token masses, and numbers with intervals, are made by `compose evaluate` alone and count against it.
    """
    name, *overrides = settings.suite
    spec = suite(name, overrides)
    prefix = random_prefix(base, tokens, settings.seed)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            patch = saved_patch(base, prefix, Path(scratch) / "patch")
            evaluate(spec, read_spec(settings.model), [patch], Path(scratch) / "runs", device=settings.device)

    def plain() -> None:
        fresh = load_base(settings.model, device=settings.device)
        _plain_loop(fresh, spec, fresh.model)
        _plain_loop(fresh, spec, behind_peft(fresh, prefix))

    action = ours if variant == "compose evaluate" else plain

    def turn() -> list[float]:
        start = now(base.model.device)
        action()
        return [now(base.model.device) - start]

    return turn


@torch.no_grad()
def _plain_loop(base: Base, spec: SuiteSpec, model: Any) -> None:
    """Answer every prompt as often as the suite asks, one at a time, and judge each answer."""
    loaded = load_suite(spec, base)
    asked = [(risk, prompt) for risk in loaded.risks for prompt in risk.test for _ in range(risk.spec.samples)]
    with bar(len(asked), "plain loop", unit="text") as progress:
        for risk, prompt in asked:
            answer = Judged(prompt.text, _answer(base, risk, model, render(base.tokenizer, prompt)))
            risk.judge.score([answer])
            if risk.name in loaded.second:
                loaded.second[risk.name].score([answer])
            progress.update(1)


def _answer(base: Base, risk: Risk, model: Any, prompt: tuple[int, ...]) -> str:
    """Return one completion by transformers' own generation."""
    sampling = risk.spec.sampling
    ids = torch.tensor([prompt], device=base.model.device)
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
    found = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=sorted(stop_ids(base)),
        pad_token_id=base.tokenizer.pad_token_id,
        **(drawn if sampling.temperature else {"do_sample": False}),
    )
    text: str = base.tokenizer.decode(found[0, len(prompt) :], skip_special_tokens=True)
    return text
