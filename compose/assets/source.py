"""Where an asset comes from, as settings. A sha256 is 64 lower-case hex digits, as indexes print it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.dataclasses import dataclass

from compose.records import SETTINGS

Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Package = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\z")]
Version = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9.!+_-]*\z")]
"""A package name or version becomes an argument of pip and a file name: no space, slash or leading dash."""


def _inside(path: str) -> str:
    """Return `path` when it stays inside the folder it is extracted to."""
    if "\\" in path or "\x00" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a relative path with forward slashes that does not climb out of its folder")
    return path


Member = Annotated[str, AfterValidator(_inside)]
"""A path inside a wheel or repository that cannot climb out of the folder it is extracted to."""
FileName = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9._-]*\z")]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Wheel:
    """One file out of one wheel of the package index; neither the package nor what it needs is installed.

    Attributes:
        package: Name on the index.
        version: The one release that is wanted.
        sha256: Digest of the wheel.
        member: Path of the file inside the wheel.
        member_sha256: Digest of that file.
        wheel_bytes: Size of the wheel, for a progress bar with the time left; None when it is not known.
    """

    source: Literal["wheel"] = "wheel"
    package: Package
    version: Version
    sha256: Sha256
    member: Member
    member_sha256: Sha256
    wheel_bytes: Annotated[int, Field(gt=0)] | None = None


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Wheels:
    """One file that is cut into pieces, each in a wheel of its own, because indexes limit a wheel's size.

    Attributes:
        file: Name of the joined file.
        sha256: Digest of the joined file.
        parts: The pieces in their order.
    """

    source: Literal["wheels"] = "wheels"
    file: FileName
    sha256: Sha256
    parts: Annotated[tuple[Wheel, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Hub:
    """A repository of the HF hub, or one file of it.

    Attributes:
        repo: `owner/name`.
        revision: Branch, tag or commit; only a commit stays the same for ever.
        file: The one file that is wanted; None for a model folder (weights, config and tokenizer).
        sha256: Digest of that file, when it is pinned.
        repo_type: `model` or `dataset`.
    """

    source: Literal["hub"] = "hub"
    repo: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\z")]
    revision: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][\w./-]*\z")] = "main"
    file: Member | None = None
    sha256: Sha256 | None = None
    repo_type: Literal["model", "dataset"] = "model"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Local:
    """A file or folder of this machine.

    Attributes:
        path: Where it is; `~` is the home folder.
        sha256: Digest, when a file is pinned.
    """

    source: Literal["path"] = "path"
    path: Annotated[str, StringConstraints(min_length=1)]
    sha256: Sha256 | None = None


Asset = Annotated[Wheel | Wheels | Hub | Local, Field(discriminator="source")]
"""Any source; settings files say which one with the key `source`."""
