"""Assets from the HF hub, by its own client and in its own cache: what a user has is not fetched twice."""

from __future__ import annotations

import errno
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from compose.assets.cache import offline
from compose.assets.source import Hub
from compose.digest import of_file
from compose.durable import refused_by_disk
from compose.errors import Rejected

MODEL_FILES = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.txt",
    "tokenizer.model",
)
"""Never pickled weights (`*.bin`, `*.pth`): loading them runs whatever code they hold."""
UNUSED_FILES = ("*/*", "consolidated*")
"""Second copies of the weights in the format of the model's makers."""


def fetch_hub(asset: Hub) -> Path:
    """Return the path of a hub file, or of the local snapshot folder of a model repository.

    Raises:
        Rejected: `asset-missing` with what to fetch on a connected machine, `asset-digest`, `disk-full` or
            `read-only`.
    """
    with refused_by_disk(Path(constants.HF_HUB_CACHE)):
        try:
            return _checked(asset, _download(asset))
        except HFValidationError as error:
            raise Rejected(
                "settings-invalid",
                subject=f"repo {asset.repo!r}",
                expected="the name of a repository, owner/name",
                got=str(error),
                fix="correct `repo` in the settings",
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as error:
            raise _missing(asset, error) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise _missing(asset, error) from error


def _download(asset: Hub, *, again: bool = False) -> Path:
    """Return what the hub's client gives; it resumes what was interrupted and asks nothing when offline."""
    if asset.file is not None:
        return Path(
            hf_hub_download(
                asset.repo,
                asset.file,
                repo_type=asset.repo_type,
                revision=asset.revision,
                local_files_only=offline(hub=True),
                force_download=again,
            )
        )
    return Path(
        snapshot_download(
            asset.repo,
            repo_type=asset.repo_type,
            revision=asset.revision,
            local_files_only=offline(hub=True),
            allow_patterns=list(MODEL_FILES) if asset.repo_type == "model" else None,
            ignore_patterns=list(UNUSED_FILES) if asset.repo_type == "model" else None,
        )
    )


def _checked(asset: Hub, path: Path) -> Path:
    """Return `path` if its bytes are the pinned ones, after one more download when they are not."""
    if asset.sha256 is None or asset.file is None:
        return path
    expected = f"sha256:{asset.sha256}"
    if of_file(path) == expected:
        return path
    if not offline(hub=True):
        path = _download(asset, again=True)
    found = of_file(path)
    if found == expected:
        return path
    raise Rejected(
        "asset-digest",
        subject=f"{asset.repo}/{asset.file} at {asset.revision}",
        expected=expected,
        got=found,
        fix="name the commit whose file is pinned as `revision`, or correct the sha256 in the settings",
    )


def _missing(asset: Hub, error: Exception) -> Rejected:
    """Return the error that says which repository to fetch elsewhere and where its files belong."""
    kind = "" if asset.repo_type == "model" else f" --repo-type {asset.repo_type}"
    file = "" if asset.file is None else f" {asset.file}"
    command = f"hf download {asset.repo}{file}{kind} --revision {asset.revision}"
    folder = f"{asset.repo_type}s--{asset.repo.replace('/', '--')}"
    licence = ""
    if isinstance(error, GatedRepoError):
        licence = f"accept its licence at https://huggingface.co/{asset.repo} and run `hf auth login`; or "
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Rejected(
        "asset-missing",
        subject=f"{asset.repo} at {asset.revision} (a {asset.repo_type} repository of the HF hub)",
        expected=f"its files in {constants.HF_HUB_CACHE}, or a hub that gives them",
        got=f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}",
        fix=f"{licence}on a connected machine run `{command}` and copy {folder} of its hub cache to "
        f"{constants.HF_HUB_CACHE}; or name a folder that you have with `source: path`",
    )
