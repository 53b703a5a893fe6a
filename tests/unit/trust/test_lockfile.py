"""compose.lock: read only as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compose.errors import Rejected
from compose.trust.claims import Lock, lock_digest
from compose.trust.lockfile import MAX_LOCK_BYTES, lock_bytes, read_lock, read_lock_file, write_lock_file

DIGEST = "sha256:" + "0" * 64


def lock(**changes: Any) -> Lock:
    patch = {"version": "1.0.0", "digest": DIGEST, "card": DIGEST, "tokens": 2, "risks": ["toxicity"]}
    fields = {
        "schema_version": 1,
        "manifest": DIGEST,
        "name": "both",
        "version": "1.0.0",
        "base": {"name": "SmolLM2", "fingerprint": DIGEST},
        "method": {"name": "mean", "params": {"weights": [0.1, 0.9]}},
        "patches": [{"name": "toxicity", **patch}, {"name": "bias", **patch}],
        "result": {"digest": DIGEST, "tokens": 2, "dim": 8, "expression": "mean(ä)"},
        "gates": [{"metric": "gender_bias/gas", "limit": 1e-7}],
    }
    return Lock.model_validate_json(json.dumps({**fields, **changes}))


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_lock_file(tmp_path / "compose.lock", lock())
    data = (tmp_path / "compose.lock").read_bytes()

    assert read_lock_file(tmp_path / "compose.lock") == lock()
    assert lock_bytes(read_lock(data)) == data
    assert json.loads(data)["lock_digest"] == lock_digest(lock())


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b'"version": "1.0.0"', b'"version": "1.0.1"'),
        lambda data: data.replace(b"0.9", b"0.8"),
        lambda data: data.replace(b"1e-07", b"1e-7"),
        lambda data: data + b"\n",
        lambda data: data[:-1],
        lambda data: b" " + data,
        lambda data: data.replace("ä".encode(), b"\\u00e4"),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace(b'"lock_digest"', b'"lock_digets"'),
        lambda data: data.replace(b"{", b'{\n "name": "both",', 1),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"",
        lambda data: data.replace(b'"lock_digest": "', b'"lock_digest": "\xe2\x80\xae'),
        lambda data: b"{" + b'"a":' * 100_000,
        lambda data: data + b" " * MAX_LOCK_BYTES,
    ],
)
def test_other_bytes_are_refused(edit: Any) -> None:
    data = lock_bytes(lock())
    edited = edit(data)

    assert edited != data
    with pytest.raises(Rejected, match="lock-invalid"):
        read_lock(edited)


def test_patches_swapped_in_order_are_another_lock() -> None:
    assert lock_digest(lock()) != lock_digest(lock(patches=json.loads(lock_bytes(lock()))["patches"][::-1]))


def test_a_lock_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no such file"):
        read_lock_file(tmp_path / "compose.lock")


def test_a_lock_too_large_to_be_read_is_not_written(tmp_path: Path) -> None:
    patch = {"version": "1.0.0", "digest": DIGEST, "card": DIGEST, "tokens": 2}
    risks = [f"{'r' * 60}{number}" for number in range(64)]
    many = [{"name": f"a{number}", "risks": risks, **patch} for number in range(64)]
    result = {"digest": DIGEST, "tokens": 2, "dim": 8, "expression": "\n" * 65_536}
    gate = {"metric": "gender_bias/gas", "limit": 1e-7}
    with pytest.raises(Rejected, match="lock-invalid"):
        write_lock_file(tmp_path / "compose.lock", lock(patches=many, result=result, gates=[gate] * 64))
    assert list(tmp_path.iterdir()) == []
