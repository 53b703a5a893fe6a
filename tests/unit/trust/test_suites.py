"""The suites that evidence counts on: what ships, and what a person adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose.errors import Rejected
from compose.trust.suites import PINS_FILE, Pins, ids_digest, read_pins, shipped_pins, vouched_for
from tests.unit.trust.cases import pins


def test_the_suites_of_every_kind_of_risk_ship_with_their_judges() -> None:
    shipped = shipped_pins()

    assert set(shipped.suites) == {"gender_bias", "harmfulness", "over_refusal", "toxicity"}
    assert {part.kind for pin in shipped.suites.values() for part in pin.parts.values()} == set(shipped.suites)
    assert shipped.suites["gender_bias"].parts["professions"].grouped
    assert len(shipped.passages) == 1


def test_suites_beside_the_keyring_are_added_and_count_more(tmp_path: Path) -> None:
    assert vouched_for(tmp_path) == shipped_pins()
    (tmp_path / PINS_FILE).write_text(pins().model_dump_json())

    known = vouched_for(tmp_path)

    assert known.suites["toxicity"] == pins().suites["toxicity"]
    assert known.suites["harmfulness"] == shipped_pins().suites["harmfulness"]
    assert known.passages == (*shipped_pins().passages, *pins().passages)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"suites":{},"passages":[],"more":1}',
        '{"suites":{"toxicity":{"digest":"x","parts":{}}},"passages":[]}',
    ],
)
def test_what_is_no_table_of_suites_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / PINS_FILE).write_text(text)

    with pytest.raises(Rejected) as refused:
        vouched_for(tmp_path)

    assert refused.value.code == "evidence-invalid"


def test_pins_are_read_as_they_are_written() -> None:
    written = pins()

    assert read_pins(written.model_dump_json().encode(), subject="s") == written
    assert isinstance(json.loads(written.model_dump_json())["suites"], dict)
    assert Pins(suites={}, passages=()).joined(written) == written


def test_ids_have_one_digest_in_any_order_and_another_with_one_more_less_or_twice() -> None:
    digest = ids_digest(["a", "b", "c"])

    assert ids_digest(["c", "a", "b"]) == digest
    assert digest not in {ids_digest(ids) for ids in (["a", "b"], ["a", "b", "c", "d"], ["a", "b", "b", "c"])}
