"""Damage to bytes, and how much of it the tests try."""

from __future__ import annotations

import os

from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("COMPOSE_MUTATIONS", "500"))
"""Damages that each test of damaged bytes tries; `make mutations` tries 20,000."""


def mutated(data: st.DataObject, original: bytes) -> bytes:
    """Return `original` after one to three edits: a byte changed, bytes cut, inserted, doubled or swapped."""
    result = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(result)))
        edit = data.draw(st.sampled_from(["set", "cut", "insert", "double", "truncate", "digit"]))
        length = data.draw(st.integers(1, 8))
        if edit == "set" and at < len(result):
            result[at] = data.draw(st.integers(0, 255))
        elif edit == "cut":
            del result[at : at + length]
        elif edit == "insert":
            result[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        elif edit == "double":
            result[at:at] = result[at : at + length]
        elif edit == "truncate":
            del result[at:]
        elif edit == "digit" and at < len(result):  # numbers in text stay numbers: the sly kind of damage
            result[at] = ord(data.draw(st.sampled_from("0123456789")))
    return bytes(result)
