"""What the flow tests share: a cache of their own, patches of the tiny base in folders, harmless requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compose.artifact import new_patch, save
from compose.base import Base, load_base
from compose.engine.self_test import PROBE, record_self_test
from compose.records import BaseRef, CardDraft, CardMetric

REQUESTS = [f"Please help the {who}, {n}" for n, who in enumerate(("man", "nurse", "boy", "teacher", "people", "girl"))]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an asset cache that no other program uses."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_CACHE", str(cache))


@pytest.fixture(scope="session")
def tiny(cache: Path) -> Base:
    """Return the random base that knows nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COMPOSE_CACHE", str(cache))
        return load_base("tiny", device="cpu")


@pytest.fixture
def patch_folder(tiny: Base, tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of patch folders: the embeddings of eight tokens, three times as large, from a seed."""

    def make(name: str, *, seed: int = 0, tokens: int = 8, fingerprint: str | None = None) -> Path:
        embedding = tiny.model.get_input_embeddings().weight.detach()
        rows = torch.randint(len(embedding), (tokens,), generator=torch.Generator().manual_seed(seed))
        prefix = 3 * embedding[rows]
        draft = CardDraft(
            name=Path(name).name,
            version="1.2.3",
            risks=("toxicity",),
            base=BaseRef(name="tiny", fingerprint=fingerprint or tiny.fingerprint),
            strategy="specialist",
            metrics={"toxicity/toxic_rate_per_prompt": CardMetric(value=0.25, direction="lower", n=40)},
            self_test=record_self_test(tiny.model, prefix, tiny.tokenizer.encode(PROBE)),
        )
        return save(new_patch(prefix, draft), tmp_path / name)

    return make


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """Return overrides of an attack that put six harmless requests, a judge of words and short replies in place."""
    (tmp_path / "requests.txt").write_text("\n".join(REQUESTS), encoding="utf-8")
    source = f"[{{format: lines, asset: {{source: path, path: {tmp_path / 'requests.txt'}}}}}]"
    short = ["risk.sampling.max_new_tokens=3", "attack.candidates=6", "attack.suffix_tokens=4"]
    sizes = ["risk.n_train=0", "risk.n_test=6", "requests=4"]
    return [f"risk.prompts={source}", "risk.judge=gendered_words", *sizes, *short]
