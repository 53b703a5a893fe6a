"""The strict door for tensor files: each forged file and why it must not pass."""

import io
import json
import pickle
import struct
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from compose.errors import Rejected
from compose.prefix_bytes import ELSEWHERE, OURS, check_prefix, read_prefix, write_prefix

ROWS = [[1.0, -2.0, 3.0], [0.5, 0.0, -0.25]]
DATA = struct.pack("<6f", *ROWS[0], *ROWS[1])
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def forged(header: object, data: bytes = DATA) -> bytes:
    """Return a file whose header is `header`: an object, or text as it stands."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def named(**changes: Any) -> bytes:
    return forged({"prompt_embeddings": {**ENTRY, **changes}})


def floats(*values: float) -> bytes:
    return forged({"prompt_embeddings": ENTRY}, struct.pack("<6f", *values))


def read(data: bytes) -> Any:
    return read_prefix(data, subject="adapter_model.safetensors", dtypes=OURS)


GOOD = forged({"prompt_embeddings": ENTRY})
ENTRY_TEXT = json.dumps(ENTRY)
ARCHIVE = io.BytesIO()
torch.save({"prompt_embeddings": torch.ones(2, 3)}, ARCHIVE)
ARRAY = io.BytesIO()
np.save(ARRAY, np.ones((2, 3), dtype=np.float32))

FORGED = {
    "empty": b"",
    "seven bytes": b"\x00" * 7,
    "only a length": GOOD[:8],
    "truncated header": GOOD[:40],
    "truncated data": GOOD[:-1],
    "a trailing byte": GOOD + b"\x00",
    "header length 2^63": (1 << 63).to_bytes(8, "little") + GOOD[8:],
    "header length 0": bytes(8) + GOOD[8:],
    "header over the cap": forged(json.dumps({"prompt_embeddings": ENTRY}) + " " * 4096),
    "header deeper than any reader": forged('{"a":' + "[" * 2000 + "]" * 2000 + "}"),
    "header that is a list": forged([ENTRY]),
    "header that is no JSON": forged("{" * 40),
    "header in UTF-16": forged("{}") + b"",
    "tensor named twice": forged(f'{{"prompt_embeddings":{ENTRY_TEXT},"prompt_embeddings":{ENTRY_TEXT}}}'),
    "metadata key twice": forged(f'{{"__metadata__":{{"a":"1","a":"2"}},"prompt_embeddings":{ENTRY_TEXT}}}'),
    "metadata that is a number": forged({"__metadata__": 3, "prompt_embeddings": ENTRY}),
    "metadata of numbers": forged({"__metadata__": {"a": 1}, "prompt_embeddings": ENTRY}),
    "no tensor": forged({}, b""),
    "no tensor, but data": forged({}),
    "two tensors": save({"prompt_embeddings": torch.ones(2, 3), "other": torch.ones(1)}),
    "another name": forged({"weight": ENTRY}),
    "a name with a path": forged({"../prompt_embeddings": ENTRY}),
    "a name with NUL": forged({"prompt_embeddings\x00": ENTRY}),
    "a tensor that is a list": forged({"prompt_embeddings": [1]}),
    "a missing field": forged({"prompt_embeddings": {"dtype": "F32", "shape": [2, 3]}}),
    "a field too many": named(note="x"),
    "integers of the same size": named(dtype="I32"),
    "an unknown type": named(dtype="F33"),
    "a type that is no text": named(dtype=["F32"]),
    "half precision behind a card": save({"prompt_embeddings": torch.ones(2, 3, dtype=torch.float16)}),
    "a vector": named(shape=[6]),
    "three axes": named(shape=[1, 2, 3]),
    "an empty axis": named(shape=[0, 3], data_offsets=[0, 0]),
    "a negative axis": named(shape=[-2, -3]),
    "a bool for a size": named(shape=[True, 6]),
    "a float for a size": named(shape=[2.0, 3]),
    "a product that overflows": named(shape=[2**62, 16]),
    "a wrong shape": named(shape=[3, 3]),
    "shifted offsets": named(data_offsets=[4, 28]),
    "reversed offsets": named(data_offsets=[24, 0]),
    "a gap": forged({"prompt_embeddings": {**ENTRY, "data_offsets": [4, 28]}}, b"\x00" * 4 + DATA),
    "bools for offsets": named(data_offsets=[False, 24]),
    "floats for offsets": named(data_offsets=[0.0, 24.0]),
    "a pickle": pickle.dumps({"prompt_embeddings": ROWS}),
    "a torch.save archive": ARCHIVE.getvalue(),
    "a numpy array": ARRAY.getvalue(),
    "a tar of nothing": bytes(10_240),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_file_that_is_not_exactly_one_matrix_is_refused(case: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(FORGED[case])
    assert refused.value.code == "artifact-bytes"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (floats(1, 2, float("nan"), 4, 5, 6), "1 values"),
        (floats(1, 2, float("inf"), 4, 5, -float("inf")), "2 values"),
        (floats(0, 0, 0, -0.0, 0, 0), "zeros"),
        (floats(1e30, 2, 3, 4, 5, 6), "norm 1e+30"),
    ],
)
def test_values_that_cannot_be_a_prefix_are_refused(data: bytes, found: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(data)
    assert refused.value.code == "prefix-invalid"
    assert found in refused.value.got


def test_300000_empty_tensors_are_refused_unread() -> None:
    entries = (f'"t{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(300_000))
    with pytest.raises(Rejected, match="a header of"):
        read(forged("{" + ",".join(entries) + "}", b""))


def test_a_file_of_the_right_kind_is_read_to_the_last_bit() -> None:
    assert read(GOOD).tolist() == ROWS
    assert read(write_prefix(np.array(ROWS, dtype=np.float32))).tolist() == ROWS


def test_a_file_is_the_one_that_safetensors_writes_for_a_tensor() -> None:
    tensor = torch.tensor(ROWS)
    expected = save({"prompt_embeddings": tensor}, metadata={"format": "pt"})
    assert write_prefix(tensor.numpy()) == expected


def test_the_metadata_that_peft_writes_is_let_pass() -> None:
    assert b'"__metadata__":{"format":"pt"}' in write_prefix(np.array(ROWS, dtype=np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_made_elsewhere_may_have_half_precision(dtype: torch.dtype) -> None:
    data = save({"prompt_embeddings": torch.tensor(ROWS, dtype=dtype)})
    prefix = read_prefix(data, subject="elsewhere", dtypes=ELSEWHERE)
    assert prefix.dtype == np.float32
    assert prefix.tolist() == ROWS


@pytest.mark.parametrize(
    "prefix", [np.ones(3), np.ones((2, 3), dtype=np.int64), np.ones((0, 3)), np.ones((4097, 1))], ids=str
)
def test_only_a_float_matrix_within_bounds_can_be_a_prefix(prefix: Any) -> None:
    with pytest.raises(Rejected, match="prefix-invalid"):
        check_prefix(prefix, subject="x")


def test_a_file_that_safetensors_alone_refuses_is_refused() -> None:
    with pytest.raises(Rejected, match="safetensors says"):
        read(forged(json.dumps({"prompt_embeddings": ENTRY}).replace("[0, 24]", "[-0, 24]")))


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 3], "data": bytearray(DATA), **changes}


@pytest.mark.parametrize(
    "second",
    [
        [],
        [("prompt_embeddings", entry(data=struct.pack("<6f", 1, 1, 1, 1, 1, 1)))],
        [("prompt_embeddings", entry(shape=[3, 2]))],
        [("prompt_embeddings", entry(dtype="I32"))],
        [("prompt_embeddings", entry(data=struct.pack("<6f", *ROWS[0], 0.5, -0.0, -0.25)))],
        [("prompt_embeddings", entry()), ("other", entry())],
        [("other", entry())],
    ],
    ids=["none", "other values", "other shape", "other type", "other sign of zero", "two tensors", "other name"],
)
def test_a_file_that_two_readers_take_differently_is_refused(second: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compose.prefix_bytes.deserialize", lambda data: second)
    with pytest.raises(Rejected, match="do not agree"):
        read(GOOD)
