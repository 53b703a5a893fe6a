"""What a base model is, as digests of four parts: weights, config, tokenizer and chat template.

The weights' digest is taken tensor by tensor from the safetensors files, streamed, in the order of the
tensors' names: how they are spread over files does not matter, nor does the type or device they are later
loaded with. Parts are cached, keyed by the files' size, time of change and inode.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from compose import durable
from compose.assets.cache import cache_root
from compose.digest import CHUNK_BYTES, of_bytes, of_json
from compose.errors import Rejected
from compose.progress import Bar, bar

VOLATILE_KEYS = frozenset({"name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"})
"""Config keys that say who wrote the file or how to load it, not what the model computes.

So do those that begin with an underscore."""
TOKENIZER_KEYS = ("bos_token", "eos_token", "unk_token", "add_bos_token", "add_eos_token", "add_prefix_space")
"""Keys of tokenizer_config.json that change token ids; the rest is limits, paths and versions."""
SLOW_TOKENIZER_FILES = ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json")
MAX_HEADER_BYTES = 100_000_000
"""The limit that safetensors sets itself."""
LONG_BYTES = 200_000_000
"""Fewer bytes are read in the blink of an eye and deserve no progress bar."""
CACHE_VERSION = 2


@dataclass(frozen=True)
class _Tensor:
    """Where one tensor's bytes are: `[start, end)` of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def fingerprint(folder: Path, *, cache: Path | None = None) -> str:
    """Return the fingerprint of a base folder, `sha256:<hex>`: the digest of its `fingerprint_parts`.

    Raises:
        Rejected: `unsafe-weights`, when the folder has no complete safetensors weights.
    """
    return combine(fingerprint_parts(folder, cache=cache))


def combine(parts: Mapping[str, str]) -> str:
    """Return the one digest that stands for all parts."""
    return of_json(dict(parts))


def fingerprint_parts(folder: Path, *, cache: Path | None = None) -> dict[str, str]:
    """Return the digests of `weights`, `config`, `tokenizer` and `chat_template`, to name what differs.

    Args:
        folder: A model folder as transformers saves it.
        cache: Where parts are remembered; `cache_root()` when None.

    Raises:
        Rejected: `unsafe-weights`, when the folder has no complete safetensors weights.
    """
    weights = _weight_files(folder)
    index = folder / "model.safetensors.index.json"
    watched = [*weights, *([index] if index.is_file() else []), *_small_files(folder)]
    stats = {path.name: [s.st_size, s.st_mtime_ns, s.st_ino] for path in watched for s in (path.stat(),)}
    place = str(folder.resolve())
    remembered = cache_root(cache) / "fingerprints" / f"{of_bytes(place.encode()).removeprefix('sha256:')[:32]}.json"
    key = {"version": CACHE_VERSION, "folder": place, "files": stats}
    parts = _recall(remembered, key)
    if parts is None:
        parts = {"weights": _weights_digest(weights), **text_parts(folder)}
        durable.write_json(remembered, {**key, "parts": parts})
    return parts


def text_parts(folder: Path) -> dict[str, str]:
    """Return the digests of `config`, `tokenizer` and `chat_template`: every part but the weights.

    Raises:
        Rejected: `unsafe-weights`, when a file is missing or is no JSON.
    """
    settings = _read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    return {
        "config": of_json(_without_volatile(_read_json(folder / "config.json"))),
        "tokenizer": _tokenizer_digest(folder, settings),
        "chat_template": _template_digest(folder, settings),
    }


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers would load from the folder."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        shards = _read_json(index).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        missing = [name for name in names if not (folder / name).is_file() or Path(name).name != name]
        if names and not missing:
            return [folder / name for name in names]
        raise _unsafe(folder, "all the files its index names", f"{', '.join(missing) or 'an empty index'} missing")
    pickled = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
    got = f"only {', '.join(pickled)}, which can run code when it is loaded" if pickled else "no weights"
    raise _unsafe(folder, "model.safetensors, or an index and its files", got)


def _weights_digest(files: list[Path]) -> str:
    """Return the digest of all tensors in the order of their names."""
    tensors = sorted((t for path in files for t in _tensors(path)), key=lambda tensor: tensor.name)
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise _unsafe(files[0].parent, "every tensor once", "a tensor name in two files")
    rows: list[list[object]] = []
    total = sum(tensor.end - tensor.start for tensor in tensors)
    with bar(total, "fingerprint of the base", unit="B", quiet=total < LONG_BYTES) as progress:
        opened: dict[Path, BinaryIO] = {path: path.open("rb", buffering=0) for path in files}
        try:
            for tensor in tensors:
                digest = _tensor_digest(tensor, opened[tensor.file], progress)
                rows.append([tensor.name, tensor.dtype, list(tensor.shape), digest])
        finally:
            for file in opened.values():
                file.close()
    return of_json(rows)


def _tensors(path: Path) -> Iterator[_Tensor]:
    """Yield the tensors that a safetensors header lists, after a check that the file holds them all."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
            raise _unsafe(path, "a safetensors header", f"a header of {length} bytes in a file of {size}")
        header = _parse_json(path, file.read(length))
    body = 8 + length
    ends = [body]
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            start, end = (int(offset) for offset in entry["data_offsets"])
            tensor = _Tensor(name, str(entry["dtype"]), tuple(entry["shape"]), path, body + start, body + end)
        except (TypeError, KeyError, ValueError) as error:
            raise _unsafe(path, "dtype, shape and data_offsets of every tensor", f"{name}: {entry!r:.80}") from error
        if not body <= tensor.start <= tensor.end:
            raise _unsafe(path, "offsets inside the file", f"{name}: {start} to {end}")
        ends.append(tensor.end)
        yield tensor
    if max(ends) != size:
        raise _unsafe(path, f"{max(ends)} bytes, as its header says", f"{size} bytes: cut short or extended")


def _tensor_digest(tensor: _Tensor, file: BinaryIO, progress: Bar) -> str:
    """Return the sha256 of one tensor's bytes, read in pieces."""
    running = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    file.seek(tensor.start)
    left = tensor.end - tensor.start
    while left:
        count = file.readinto(buffer[: min(left, CHUNK_BYTES)])  # type: ignore[attr-defined]
        if not count:
            raise _unsafe(tensor.file, "a file that keeps its size", "one that shrank while it was read")
        running.update(buffer[:count])
        left -= count
        progress.update(count)
    return running.hexdigest()


def _without_volatile(value: Any) -> Any:
    """Return a config without volatile keys and without nulls, at every depth."""
    if isinstance(value, dict):
        return {
            key: _without_volatile(item)
            for key, item in value.items()
            if item is not None and key not in VOLATILE_KEYS and not key.startswith("_")
        }
    if isinstance(value, list):
        return [_without_volatile(item) for item in value]
    return value


def _tokenizer_digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """Return the digest of what turns text into ids, without the padding and truncation last used."""
    fast = folder / "tokenizer.json"
    if fast.is_file():
        whole = _read_json(fast)
        table: object = {key: whole[key] for key in sorted(whole) if key not in ("padding", "truncation", "version")}
    else:
        slow = [folder / name for name in SLOW_TOKENIZER_FILES if (folder / name).is_file()]
        if not slow:
            raise _unsafe(folder, "a tokenizer", f"neither tokenizer.json nor {', '.join(SLOW_TOKENIZER_FILES)}")
        table = {path.name: of_bytes(path.read_bytes()) for path in slow}
    special = {key: _token_text(settings[key]) for key in TOKENIZER_KEYS if settings.get(key) is not None}
    return of_json({"table": table, "special": special})


def _token_text(value: Any) -> Any:
    """Return a special token's text, which older files wrap in a record."""
    return value.get("content") if isinstance(value, dict) else value


def _template_digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """Return the digest of the chat template, wherever it is kept; of null when there is none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return of_json(file.read_text(encoding="utf-8"))
    return of_json(settings.get("chat_template"))


def _small_files(folder: Path) -> list[Path]:
    """Return the files besides the weights that the parts are made of."""
    names = (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        *SLOW_TOKENIZER_FILES,
    )
    return [folder / name for name in names if (folder / name).is_file()]


def _recall(file: Path, key: Mapping[str, object]) -> dict[str, str] | None:
    """Return the remembered parts if the files are the same as then, else None; a damaged note is none."""
    try:
        note = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or any(note.get(name) != value for name, value in key.items()):
        return None
    parts = note.get("parts")
    return parts if isinstance(parts, dict) else None


def _read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of the base folder."""
    if not path.is_file():
        raise _unsafe(path.parent, path.name, "no such file")
    return _parse_json(path, path.read_bytes())


def _parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _unsafe(path, "JSON", str(error)) from error
    if not isinstance(value, dict):
        raise _unsafe(path, "a JSON object", type(value).__name__)
    return value


def _unsafe(path: Path, expected: str, got: str) -> Rejected:
    """Return the error about a base folder that cannot be vouched for."""
    return Rejected(
        "unsafe-weights",
        subject=str(path),
        expected=expected,
        got=got,
        fix="fetch the folder again; where only pickled weights exist, load them once with transformers on a "
        "machine where you trust them, save_pretrained model and tokenizer, and name that folder as the asset",
    )
