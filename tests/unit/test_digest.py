"""Digests: known values, streaming, and JSON whose spelling does not matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose import digest

# The SHA-256 of "abc" is the first example of FIPS 180-4.
ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_bytes_have_the_digest_of_the_standard() -> None:
    assert digest.of_bytes(b"abc") == ABC


def test_a_file_has_the_digest_of_its_bytes_however_many_pieces_it_is_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "CHUNK_BYTES", 2)
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert digest.of_file(file) == ABC


def test_an_empty_file_has_the_digest_of_no_bytes(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    assert digest.of_file(file) == digest.of_bytes(b"")


def test_json_is_spelled_with_sorted_keys_and_without_spaces() -> None:
    assert digest.canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()


def test_the_order_of_keys_does_not_change_a_json_digest() -> None:
    assert digest.of_json({"x": 1, "y": 2}) == digest.of_json({"y": 2, "x": 1})


def test_nan_has_no_canonical_spelling() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest.canonical_json([float("nan")])


def test_hash_order_moves_no_key_when_another_is_added_and_changes_with_the_seed() -> None:
    keys = [f"k{n}" for n in range(30)]

    def without_last(order: list[str]) -> list[str]:
        return [key for key in order if key != "k29"]

    assert without_last(digest.hash_order(keys, 1)) == digest.hash_order(keys[:-1], 1)
    assert digest.hash_order(keys, 1) == digest.hash_order(reversed(keys), 1)
    assert digest.hash_order(keys, 1) != digest.hash_order(keys, 2)
