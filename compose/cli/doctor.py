"""`compose doctor`: what this machine has, what is missing, how to get it, and one patch really run."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.assets import Asset

REQUIRED = ("torch", "transformers", "trl", "peft", "hydra-core", "omegaconf", "safetensors", "pydantic")
OPTIONAL = (
    "wandb",
    "lm_eval",
    "bitsandbytes",
    "hydra-joblib-launcher",
    "hydra-submitit-launcher",
    "hydra-ray-launcher",
)
GIGABYTE = 1e9
LEAST_MEMORY_BYTES = 6e9
"""What `make reproduce` may use."""
LEAST_DISK_BYTES = 2e9
"""The default base takes 0.1 GB as fetched and 0.5 GB as converted; runs need room beside it."""


class Finding(NamedTuple):
    """One line of the report: `state` is "ok", "note" for what some uses need, or "broken"."""

    state: str
    subject: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.add_argument("--model", default="smollm2", help="the base whose files are looked for (default: smollm2)")
    parser.add_argument("--fetch", action="store_true", help="fetch and convert what is missing; without it nothing is")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 when everything works, 1 when something is broken; what is merely not there yet is a note."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _device,
        _memory,
        _cache,
        lambda: _assets(arguments.model, fetch_missing=arguments.fetch),
        _tracking,
        _self_test,
    )
    broken = 0
    for check in checks:
        for finding in check():
            broken += finding.state == "broken"
            print(f"{finding.state:<6}  {finding.subject:<24}  {finding.text}", flush=True)
    return 1 if broken else 0


def _versions() -> Iterator[Finding]:
    """Yield Python and the packages that matter, with their versions."""
    from compose import __version__

    state = "ok" if sys.version_info >= (3, 11) else "broken"
    yield Finding(state, "python", f"{platform.python_version()} ({sys.executable}), compose {__version__}")
    for name in REQUIRED:
        found = _version(name)
        cure = "missing: `make environment` installs it, elsewhere the package's own installation does"
        yield Finding("ok" if found else "broken", name, found or cure)
    for name in OPTIONAL:
        yield Finding("ok" if _version(name) else "note", name, _version(name) or "not installed; optional")


def _version(name: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> Iterator[Finding]:
    """Yield what computes."""
    import torch

    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            memory = f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
            yield Finding("ok", f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {memory}")
    yield Finding("ok", "cpu", f"{platform.machine()}, {cores}")


def _memory() -> Iterator[Finding]:
    """Yield how much memory is free."""
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / GIGABYTE:.1f} of {memory.total / GIGABYTE:.1f} GB free"
    if memory.available < LEAST_MEMORY_BYTES:
        yield Finding(
            "note",
            "memory",
            f"{text}; the default experiment may need {LEAST_MEMORY_BYTES / GIGABYTE:.0f} GB",
        )
    else:
        yield Finding("ok", "memory", text)


def _cache() -> Iterator[Finding]:
    """Yield where assets are kept, whether that can be written, and how much room is left."""
    from compose.assets import cache_root
    from compose.durable import write_text

    root = cache_root()
    probe = root / ".written-by-doctor"
    try:
        write_text(probe, "")
        probe.unlink()
    except Rejected as error:
        yield Finding("broken", "cache", f"{error.got} ({error.subject}); {error.fix}")
        return
    except OSError as error:
        yield Finding("broken", "cache", f"{error.strerror} ({root}); set COMPOSE_CACHE to a folder")
        return
    free = shutil.disk_usage(root).free
    text = f"{root}, {free / GIGABYTE:.1f} GB free (COMPOSE_CACHE chooses another place)"
    yield Finding("note" if free < LEAST_DISK_BYTES else "ok", "cache", text)


def _assets(model: str, *, fetch_missing: bool) -> Iterator[Finding]:
    """Yield, for the base and every risk's prompts, whether their files are here and are the pinned ones."""
    from compose.assets import fetch
    from compose.base import prepare_folder
    from compose.base_spec import read_spec
    from compose.cli.conf_assets import prompt_assets

    allowed = {} if fetch_missing else {"COMPOSE_OFFLINE": "1"}
    saved = {name: os.environ.get(name) for name in allowed}
    os.environ.update(allowed)  # the asset layer then says what is missing instead of fetching it
    try:
        spec = read_spec(model)
        if fetch_missing:
            yield _present(f"model/{model}", lambda: [prepare_folder(spec)])  # converted too, once
        elif spec.asset is not None:
            yield _present(f"model/{model}", partial(_each, fetch, [spec.asset]))
        for name, assets in prompt_assets().items():
            yield _present(name, partial(_each, fetch, assets))
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _each(fetch: Callable[[Asset], Path], assets: Sequence[Asset]) -> list[Path]:
    """Return where each asset is."""
    return [fetch(asset) for asset in assets]


def _present(subject: str, look: Callable[[], list[Path]]) -> Finding:
    """Return where the files of one setting are, or how to get them; only damaged bytes are broken."""
    try:
        paths = look()
        return Finding("ok", subject, str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
    except Rejected as error:
        if error.code == "asset-missing":
            return Finding(
                "note",
                subject,
                f"not here yet: `compose doctor --fetch` gets it. Without network: {error.fix}",
            )
        return Finding("broken", subject, f"{error.got}; {error.fix}")


def _tracking() -> Iterator[Finding]:
    """Yield how Weights & Biases would record a run; a key is never shown."""
    if importlib.util.find_spec("wandb") is None:
        yield Finding("note", "tracking", "wandb is not installed: runs are recorded in their folders only")
        return
    key = "a key is set" if os.environ.get("WANDB_API_KEY") else "no WANDB_API_KEY"
    yield Finding(
        "ok", "tracking", f"wandb {_version('wandb')}, offline unless a key is set or tracking=online is chosen; {key}"
    )


def _self_test() -> Iterator[Finding]:
    """Yield whether a small patch on a small random base is active, and right, through the engine."""
    try:
        worst = _try_a_patch()
    except Rejected as error:
        yield Finding("broken", "engine", f"{error.code}: {error.got}; {error.fix}")
        return
    text = f"a patch on the base `tiny` is active; shared and plain logits differ by {worst:.1e}"
    yield Finding("ok" if worst < 1e-4 else "broken", "engine", text)


def _try_a_patch() -> float:
    """Return how far the engine is from a prefix put in front by hand, as a share of the largest value."""
    import torch

    from compose.artifact import new_patch
    from compose.base import load_base
    from compose.engine import Row, Sampling, next_token_logprobs, prefix_cache
    from compose.engine.patched import PatchedModel
    from compose.records import BaseRef, CardDraft

    base = load_base("tiny", device="cpu")
    embedding = base.model.get_input_embeddings().weight
    prefix = embedding[torch.arange(5, 13)].detach() * 2
    card = CardDraft(name="doctor", risks=(), base=BaseRef(fingerprint=base.fingerprint), strategy="doctor")
    model = PatchedModel(base, new_patch(prefix, card))
    model.generate("one two three", Sampling(max_new_tokens=4, temperature=0.0))
    ids = torch.arange(20, 32)
    with torch.no_grad():
        shared = next_token_logprobs(base.model, prefix_cache(base.model, [prefix]), [Row(tuple(ids.tolist()))])[0]
        by_hand = base.model(inputs_embeds=torch.cat([prefix, embedding[ids]])[None]).logits[0, -1].log_softmax(-1)
    return float((shared - by_hand).abs().max() / by_hand.abs().max())


VERB = Verb("tell what works on this machine and what is missing", add_arguments, run)
