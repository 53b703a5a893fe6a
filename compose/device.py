"""Which device computes, and in which type of number when the settings leave it open."""

from __future__ import annotations

import torch

from compose.errors import Rejected

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """Return the device of that name; without a name the first GPU when there is one, else the CPU.

    Raises:
        Rejected: `settings-invalid`, when the name is none of a device, or of one that this machine has not.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_device(str(name), "no name of a device") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise _no_device(str(name), f"{torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise _no_device(str(name), f"{device.type}, on which nothing here was ever tested")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the type of that name; `auto` is what the device computes fast, and float32 off CUDA."""
    if name != "auto":
        return DTYPES[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _no_device(name: str, got: str) -> Rejected:
    """Return the error about a device that cannot be used."""
    return Rejected(
        "settings-invalid",
        subject=f"device {name!r}",
        expected="cpu, cuda or cuda:<n>, as far as this machine has them",
        got=got,
        fix="choose another device, or leave it out",
    )
