"""The one reader of JSON claims."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from compose import digest
from compose.artifact import Patch
from compose.errors import Rejected
from compose.parse import card_bytes, card_digest, make_record, read_card, revise, strict_json
from compose.records import BaseRef, CardMetric


def read(data: bytes, max_bytes: int = 10_000) -> dict[str, Any]:
    return strict_json(data, subject="claim", code="card-invalid", max_bytes=max_bytes)


def sealed(fields: dict[str, Any]) -> bytes:
    return json.dumps({**fields, "card_digest": digest.of_json(fields)}).encode()


@pytest.fixture
def fields(make_patch: Callable[..., Patch]) -> dict[str, Any]:
    """The JSON of a valid card, without its own digest."""
    return make_patch([[1.0, 2.0]]).card.model_dump(mode="json")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "Expecting value"),
        (b"[1]", "a JSON list"),
        (b'"text"', "a JSON str"),
        (b"{} {}", "Extra data"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' twice"),
        (b'{"x": {"a": 1, "a": 1}}', "the key 'a' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e400}', "overflows"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 characters"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": "\xff"}', "invalid start byte"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ('{"a": 1}'.encode("utf-16"), "can't decode"),
        (b'{"a": ' + b"[" * 4000 + b"]" * 4000 + b"}", "nesting without end"),
        (b"{}" + b" " * 10_000, "10002 bytes"),
    ],
)
def test_json_that_two_readers_could_take_differently_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(data)
    assert refused.value.code == "card-invalid"
    assert found in refused.value.got


def test_ordinary_json_is_read() -> None:
    assert read(b'\r\n{"a": [1, 2.5, null, true, "\\u00e9"]}\n') == {"a": [1, 2.5, None, True, "é"]}


def test_many_keys_are_checked_for_repetition_in_one_pass() -> None:
    keys = ",".join(f'"{number}":0' for number in range(50_000))
    assert len(read(f"{{{keys}}}".encode(), max_bytes=10**6)) == 50_000


def test_a_card_survives_writing_and_reading(make_patch: Callable[..., Patch]) -> None:
    card = make_patch(
        [[1.0, 2.0]],
        metrics={"toxicity/avg_max": CardMetric(value=0.25, direction="lower", n=120)},
        training={"rate": 3e-3, "stages": ("sft", "dpo")},
        data={"pairs": "sha256:" + "1" * 64},
        seed=7,
    ).card
    assert read_card(card_bytes(card)) == card


def test_equal_cards_have_equal_bytes_and_digests(make_patch: Callable[..., Patch]) -> None:
    one = make_patch([[1.0, 2.0]], training={"a": 1, "b": 2}).card
    other = make_patch([[1.0, 2.0]], training={"b": 2, "a": 1}).card
    assert card_bytes(one) == card_bytes(other)
    assert card_digest(one) == card_digest(other)


def test_a_card_whose_text_was_edited_is_refused(make_patch: Callable[..., Patch]) -> None:
    data = card_bytes(make_patch([[1.0, 2.0]], seed=3).card).replace(b'"seed":3', b'"seed":4')
    with pytest.raises(Rejected, match="card_digest sha256:"):
        read_card(data)


def test_a_card_without_its_digest_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="no such key"):
        read_card(json.dumps(fields).encode())


def test_the_layout_of_a_card_does_not_matter(fields: dict[str, Any]) -> None:
    assert read_card(json.dumps(json.loads(sealed(fields)), indent=8).encode()).name == "tox"


def test_an_unknown_key_is_refused_with_the_nearest_valid_one(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match=r"unknown key 'strategie', did you mean 'strategy'\?"):
        read_card(sealed({**fields, "strategie": "mean"}))
    with pytest.raises(Rejected, match=r"unknown key 'base\.fingerprnt', did you mean 'fingerprint'\?"):
        read_card(sealed({**fields, "base": {**fields["base"], "fingerprnt": "x"}}))


def test_an_unknown_key_near_nothing_is_refused_with_the_valid_ones(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="the valid ones are base, breaks"):
        read_card(sealed({**fields, "qqqq": 1}))


def test_all_findings_are_named_at_once(fields: dict[str, Any]) -> None:
    del fields["strategy"]
    with pytest.raises(Rejected) as refused:
        read_card(sealed({**fields, "tokens": True, "version": "1.0"}))
    for finding in ("'strategy' is missing", "'tokens'", "'version'"):
        assert finding in refused.value.got


def test_very_many_findings_are_counted(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="and 92 more"):
        read_card(sealed({**fields, "risks": ["NO"] * 60, "parents": [1] * 40}))


def test_a_long_value_is_not_echoed_whole(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refused:
        read_card(sealed({**fields, "name": "x" * 5000}))
    assert len(str(refused.value)) < 1000


def test_numbers_that_json_spells_as_text_or_bool_are_not_coerced(fields: dict[str, Any]) -> None:
    for value in ("1", True, 1.0, None):
        with pytest.raises(Rejected):
            read_card(sealed({**fields, "tokens": value}))


def test_a_card_too_large_for_its_reader_is_not_written(make_patch: Callable[..., Patch]) -> None:
    card = make_patch([[1.0, 2.0]], training={"notes": "x" * 2_000_000}).card
    with pytest.raises(Rejected, match="at most 1048576 bytes"):
        card_bytes(card)


def test_a_revised_card_is_checked_like_a_new_one(make_patch: Callable[..., Patch]) -> None:
    card = make_patch([[1.0, 2.0]]).card
    assert revise(card, name="better", version="1.2.3").version == "1.2.3"
    with pytest.raises(Rejected, match="MAJOR"):
        revise(card, version="latest")


def test_records_from_python_values_name_what_is_wrong() -> None:
    with pytest.raises(Rejected, match="did you mean 'layers'"):
        make_record(BaseRef, {"layer": 2}, subject="base", code="card-invalid")
