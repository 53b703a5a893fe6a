"""The bytes of a tensor file <-> one prefix matrix. The only reader of patch tensors.

safetensors alone accepts a tensor named twice, NaN, any tensor name, and headers that take seconds and
gigabytes. So a reader of our own goes first, safetensors goes second, and a file is taken only when both find
the same matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from compose.errors import Rejected
from compose.parse import strict_json
from compose.records import MAX_DIM, MAX_TOKENS

TENSOR_NAME = "prompt_embeddings"
MAX_HEADER_BYTES = 4096
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_ROW_NORM = 1e5
"""Rows of N(0, 1) noise, the largest init in use, have norm 128 at width 16,384; a diverged run has any."""

OURS = {"F32": 4}
ELSEWHERE = {"F32": 4, "F16": 2, "BF16": 2}
"""Element types and their bytes."""


class Layout(NamedTuple):
    """What a tensor file's header says, once it is known to be true of the file."""

    dtype: str
    tokens: int
    dim: int
    data_start: int


def write_prefix(values: Float32[ndarray, "tokens dim"]) -> bytes:
    """Return the safetensors file that holds a prefix as PEFT names it."""
    return save({TENSOR_NAME: np.ascontiguousarray(values, dtype="<f4")}, metadata={"format": "pt"})


def read_prefix(data: bytes, *, subject: str, dtypes: Mapping[str, int]) -> Float32[ndarray, "tokens dim"]:
    """Return the float32 prefix in a safetensors file's bytes; the array is the caller's own.

    Args:
        data: The whole file.
        subject: Its name, for the error.
        dtypes: The element types to accept: `OURS` behind a card, `ELSEWHERE` without one.

    Raises:
        Rejected: `artifact-bytes`, when the file is anything but one matrix of the expected name;
            `prefix-invalid` when its values cannot be a prefix.
    """
    layout = read_layout(data, subject=subject, dtypes=dtypes)
    stored = data[layout.data_start :]
    try:
        second = deserialize(data)
    except SafetensorError as error:
        raise _refused(subject, f"safetensors says: {error}") from error
    shape = [layout.tokens, layout.dim]
    found = [(name, entry["dtype"], list(entry["shape"]), bytes(entry["data"])) for name, entry in second]
    if found != [(TENSOR_NAME, layout.dtype, shape, stored)]:
        raise _refused(subject, "two readers that do not agree about its contents")
    values = _floats(stored, layout.dtype).reshape(shape)
    check_prefix(values, subject=subject)
    return values


def _floats(stored: bytes, dtype: str) -> Float32[ndarray, " values"]:
    """Return stored elements as float32, to which every accepted type converts without loss."""
    if dtype == "BF16":  # the upper half of a float32, a type that numpy does not have
        return (np.frombuffer(stored, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(stored, dtype="<f4" if dtype == "F32" else "<f2").astype(np.float32)


def read_layout(data: bytes, *, subject: str, dtypes: Mapping[str, int]) -> Layout:
    """Return where the one matrix lies in a safetensors file, every claim of the header checked.

    Raises:
        Rejected: `artifact-bytes`.
    """
    if not 8 < len(data) <= MAX_FILE_BYTES:
        raise _refused(subject, f"{len(data)} bytes")
    header_bytes = int.from_bytes(data[:8], "little")
    if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise _refused(subject, f"a header of {header_bytes} bytes in a file of {len(data)}")
    text = data[8 : 8 + header_bytes]
    header = strict_json(text, subject=f"header of {subject}", code="artifact-bytes", max_bytes=MAX_HEADER_BYTES)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused(subject, "metadata that is no table of strings")
    entry = header.get(TENSOR_NAME)
    if len(header) != 1 or not isinstance(entry, dict):
        raise _refused(subject, f"{len(header)} tensors, named {sorted(header)[:3]!a}")
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _refused(subject, f"a tensor described by {sorted(entry)[:5]!a}")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise _refused(subject, f"elements of type {ascii(dtype)[:20]}, expected {' or '.join(dtypes)}")
    shape, offsets, stored_bytes = entry["shape"], entry["data_offsets"], len(data) - 8 - header_bytes
    # type() and not isinstance(): True is an int to Python, and 1 to whoever multiplies it.
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(size) is int and size > 0 for size in shape):
        raise _refused(subject, f"the shape {ascii(shape)[:40]}")
    if shape[0] > MAX_TOKENS or shape[1] > MAX_DIM or shape[0] * shape[1] * dtypes[dtype] != stored_bytes:
        raise _refused(subject, f"the shape {shape[0]} x {shape[1]} over {stored_bytes} bytes")
    if not isinstance(offsets, list) or any(type(offset) is not int for offset in offsets):
        raise _refused(subject, "offsets that are no integers")
    if offsets != [0, stored_bytes]:
        raise _refused(subject, f"a tensor at {ascii(offsets)[:40]} of {stored_bytes} bytes")
    return Layout(dtype, shape[0], shape[1], 8 + header_bytes)


def check_prefix(prefix: Float[ndarray, "tokens dim"], *, subject: str) -> None:
    """Refuse a matrix that cannot be a prefix, whether it was read, trained or composed.

    Raises:
        Rejected: `prefix-invalid`, when it is no float matrix, empty, larger than `MAX_TOKENS` x `MAX_DIM`,
            all zeros, holds NaN or an infinity, or has a row whose norm is over `MAX_ROW_NORM`.
    """
    got = None
    if prefix.ndim != 2 or not np.issubdtype(prefix.dtype, np.floating):
        got = f"a {prefix.dtype} tensor of shape {prefix.shape}"
    elif not (1 <= prefix.shape[0] <= MAX_TOKENS and 1 <= prefix.shape[1] <= MAX_DIM):
        got = f"{prefix.shape[0]} x {prefix.shape[1]}"
    elif not np.isfinite(prefix).all():
        got = f"{int((~np.isfinite(prefix)).sum())} values that are NaN or infinite"
    elif not prefix.any():
        got = "nothing but zeros"
    else:
        largest = float(np.linalg.norm(prefix.astype(np.float64), axis=1).max())
        got = f"a row of norm {largest:.3g}" if largest > MAX_ROW_NORM else None
    if got is not None:
        raise Rejected(
            "prefix-invalid",
            subject=subject,
            expected=f"a finite matrix of at most {MAX_TOKENS} x {MAX_DIM}, row norms up to {MAX_ROW_NORM:g}",
            got=got,
            fix="take the patch from an earlier snapshot, or train it again with a smaller learning rate",
        )


def _refused(subject: str, got: str) -> Rejected:
    """Return the error about a tensor file."""
    return Rejected(
        "artifact-bytes",
        subject=subject,
        expected=f"a safetensors file with one matrix, {TENSOR_NAME!r} [tokens, dim], and not a byte besides",
        got=got,
        fix="get the file again from whoever made it; a file of another format must be saved anew with PEFT",
    )
