"""Mappings to settings records, with errors that say what may have been meant."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from compose.errors import Rejected
from compose.records import SETTINGS
from compose.validated import validated


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Inner:
    size: Annotated[int, Field(gt=0)] = 1


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Outer:
    name: str
    inner: Inner | None = None
    share: float = 0.5


def refusal(values: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        validated(Outer, values, subject="file.yaml")
    assert caught.value.code == "settings-invalid"
    assert caught.value.subject == "file.yaml"
    return caught.value


def test_valid_values_become_the_record() -> None:
    assert validated(Outer, {"name": "x", "inner": {"size": 2}}, subject="") == Outer(name="x", inner=Inner(size=2))


def test_a_typo_names_the_nearest_key_also_inside_other_records() -> None:
    assert "'nmae' may mean 'name'" in refusal({"nmae": "x"}).fix
    assert "'sise' may mean 'size'" in refusal({"name": "x", "inner": {"sise": 2}}).fix


def test_a_key_like_no_other_lists_them_all() -> None:
    assert "inner, name, share, size" in refusal({"name": "x", "qqqqq": 1}).fix


def test_every_mistake_is_told_at_once() -> None:
    got = refusal({"share": float("nan"), "inner": {"size": 0}}).got
    assert "no key 'name'" in got
    assert "inner.size" in got
    assert "share" in got


@pytest.mark.parametrize("values", [None, [], "name: x", 3])
def test_what_is_no_mapping_is_refused(values: object) -> None:
    assert type(values).__name__ in refusal(values).got
