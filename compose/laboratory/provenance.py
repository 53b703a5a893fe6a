"""What a number rests on beside its settings: the commit, the machine, the versions of the packages."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

import compose
from compose.base import Base

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "alt-profanity-check",
)
"""The packages that decide numbers."""
GIT_TIMEOUT_S = 10.0


def commit() -> tuple[str, bool]:
    """Return the commit of the code's checkout, "unknown" outside one, and whether it has changes on top."""
    checkout = Path(compose.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return "unknown", False
    found = _git(checkout, "rev-parse", "HEAD")
    # What is in no commit yet but would be run counts; a notebook beside it does not, nor do results being written.
    code = ("compose", "conf", "experiments", ":(exclude)experiments/results")
    changes = _git(checkout, "status", "--porcelain", "--", *code)
    return found or "unknown", bool(changes)


def machine(base: Base) -> dict[str, str | int | float]:
    """Return what the numbers of a loaded base are computed on, and in which type of number."""
    device = base.model.device
    facts: dict[str, str | int | float] = {
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "os": platform.platform(),
        "device": device.type,
        "dtype": str(base.model.dtype).removeprefix("torch."),
    }
    if device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of those that decide numbers."""
    found = {"python": platform.python_version(), "compose": compose.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def command_line() -> str:
    """Return the command that started this process, as it can be typed again."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"-m {module.name.removesuffix('.__main__')}" if module else sys.argv[0]
    return shlex.join(["python", *program.split(), *sys.argv[1:]])


def _git(checkout: Path, *words: str) -> str:
    """Return what git says, nothing when there is no git or it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_TIMEOUT_S,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    """Return the processor's name where the machine tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
