"""Versions and ranges: compared as numbers, spelled in one way."""

from __future__ import annotations

import itertools

import pytest

from compose.errors import Rejected
from compose.trust.ranges import admits, number, relation


def test_versions_are_compared_as_numbers() -> None:
    assert number("1.9.0") < number("1.10.0") < number("2.0.0")
    assert str(number("1.10.0")) == "1.10.0"


@pytest.mark.parametrize(
    "text", ["1.0", "1", "1.0.0.0", "01.0.0", "1.0.0rc1", "1.0.0+local", "v1.0.0", "1.0.0\n", "", "-1.0.0"]
)
def test_another_spelling_is_no_version(text: str) -> None:
    with pytest.raises(Rejected, match="version-invalid"):
        number(text)
    with pytest.raises(Rejected, match="version-invalid"):
        admits("*", text)
    with pytest.raises(Rejected, match="version-invalid"):
        admits(f">={text}", "1.0.0")


@pytest.mark.parametrize(
    "text", ["", " *", ">= 1.0.0", ">=1.0.0, <2.0.0", "1.0.0", "~=1.0.0", "!=1.0.0", ">=1.0.0,", "*,>1.0.0"]
)
def test_another_spelling_is_no_range(text: str) -> None:
    with pytest.raises(Rejected, match="version-invalid"):
        admits(text, "1.0.0")


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        ("*", ["0.0.0", "9.9.9"], []),
        ("==1.2.3", ["1.2.3"], ["1.2.2", "1.2.4"]),
        (">=1.2.3", ["1.2.3", "1.10.0"], ["1.2.2", "0.9.9"]),
        (">1.2.3", ["1.2.4"], ["1.2.3"]),
        ("<=1.2.3", ["1.2.3", "0.0.1"], ["1.2.4", "1.10.0"]),
        ("<1.2.3", ["1.2.2"], ["1.2.3"]),
        ("^1.2.3", ["1.2.3", "1.99.0"], ["1.2.2", "2.0.0"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.0.2"]),
        (">=1.0.0,<2.0.0", ["1.0.0", "1.9.9"], ["0.9.9", "2.0.0"]),
        (">2.0.0,<1.0.0", [], ["1.5.0", "3.0.0"]),
    ],
)
def test_a_range_admits_what_all_its_comparisons_admit(range_: str, inside: list[str], outside: list[str]) -> None:
    assert [version for version in inside if not admits(range_, version)] == []
    assert [version for version in outside if admits(range_, version)] == []


def test_opposite_comparisons_part_all_versions() -> None:
    versions = [".".join(map(str, parts)) for parts in itertools.product((0, 1, 10), repeat=3)]
    for bound, version in itertools.product(versions, repeat=2):
        assert admits(f">={bound}", version) != admits(f"<{bound}", version)
        assert admits(f"<={bound}", version) != admits(f">{bound}", version)
        assert admits(f"=={bound}", version) == (admits(f"<={bound}", version) and admits(f">={bound}", version))


@pytest.mark.parametrize(
    ("text", "name", "range_"),
    [
        ("bias", "bias", "*"),
        ("bias*", "bias", "*"),
        ("gender-bias>=1.2.0,<2.0.0", "gender-bias", ">=1.2.0,<2.0.0"),
        ("bias ^1.2.0", "bias", "^1.2.0"),
    ],
)
def test_a_relation_is_a_name_and_perhaps_a_range(text: str, name: str, range_: str) -> None:
    assert (relation(text).name, relation(text).range) == (name, range_)


@pytest.mark.parametrize(
    "text", ["", ">=1.0.0", "bias>=1.0", "Bias", "bias 1.0.0", "bias>= 1.0.0", "../bias", "bias\n"]
)
def test_another_word_is_no_relation(text: str) -> None:
    with pytest.raises(Rejected, match="version-invalid"):
        relation(text)
