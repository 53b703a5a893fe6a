"""The rules that a record can check by itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from compose.records import BaseRef, CardMetric, InitInfo, PatchCard, SelfTest

DIGEST = "sha256:" + "0" * 64
CARD: dict[str, Any] = {
    "name": "tox",
    "risks": ("toxicity",),
    "base": BaseRef(fingerprint=DIGEST),
    "strategy": "specialist",
    "tokens": 2,
    "dim": 4,
    "prefix": DIGEST,
}
SELF_TEST: dict[str, Any] = {
    "token_ids": (5, 6, 7),
    "positions": (0, 2),
    "vocabulary": (1, 9),
    "patched": ((1.0, 2.0), (3.0, 4.0)),
    "base": ((1.0, 2.0), (3.0, 4.5)),
    "tolerance": 0.01,
}


def test_a_card_has_a_version_and_nothing_measured_until_told() -> None:
    card = PatchCard(**CARD)
    assert (card.version, card.status, dict(card.metrics), card.self_test) == ("0.1.0", "proven", {}, None)


@pytest.mark.parametrize(
    "version",
    ["1.0", "1.0.0.0", "v1.0.0", "1.0.0rc1", "1.0.0+local", "01.0.0", "1.0.0\n", " 1.0.0", "1.0.٣", "1.-1.0"],
)
def test_versions_are_major_minor_patch_and_nothing_else(version: str) -> None:
    with pytest.raises(ValidationError, match=r"MAJOR\.MINOR\.PATCH"):
        PatchCard(**{**CARD, "version": version})


@pytest.mark.parametrize("name", ["", "Tox", "tox\n", "../tox", "t\u043ex", "-tox", "a" * 65, "tox.v1", "a\x00b"])
def test_names_are_short_and_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        PatchCard(**{**CARD, "name": name})


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[2J", "a\u202eb", "\u2066", "\x9b", "x" * 4097])
def test_text_that_would_act_on_a_terminal_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        InitInfo(kind="text", text=text, digest=DIGEST)


def test_text_in_any_language_and_with_line_breaks_is_kept() -> None:
    assert InitInfo(kind="text", text="Sei höflich.\n请保持礼貌", digest=DIGEST).text == "Sei höflich.\n请保持礼貌"


@pytest.mark.parametrize(("kind", "text"), [("text", None), ("random", "hello")])
def test_only_a_text_init_has_a_text(kind: Any, text: str | None) -> None:
    with pytest.raises(ValidationError, match="exactly when"):
        InitInfo(kind=kind, text=text, digest=DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": True},
        {"tokens": 2.0},
        {"tokens": 0},
        {"tokens": 4097},
        {"seed": -1},
        {"risks": ["toxicity"]},
        {"risks": ("toxicity", "toxicity")},
        {"prefix": "0" * 64},
        {"prefix": "sha256:" + "A" * 64},
        {"status": "verified"},
        {"schema_version": 2},
        {"unheard_of": 1},
        {"training": {"rate": float("nan")}},
        {"training": {"steps": {"of": object()}}},
        {"training": {1: 2}},
        {"metrics": {"a\nb": CardMetric(value=1.0, direction="lower")}},
        {"data": {"pairs": "unknown"}},
        {"expression": "concat(a@" + DIGEST + ")"},
        {"base": BaseRef()},
    ],
)
def test_a_card_that_breaks_a_rule_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PatchCard(**{**CARD, **change})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "0.5"])
def test_a_metric_is_a_finite_number(value: Any) -> None:
    with pytest.raises(ValidationError):
        CardMetric(value=value, direction="lower")


def test_training_settings_may_nest_and_hold_tuples() -> None:
    settings: dict[str, Any] = {"a": {"b": (1, 2.5, None)}}
    assert PatchCard(**{**CARD, "training": settings}).training == {"a": {"b": [1, 2.5, None]}}


def test_a_patch_nobody_vouches_for_may_lack_a_fingerprint() -> None:
    assert PatchCard(**{**CARD, "base": BaseRef(), "status": "unproven"}).base.fingerprint is None


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PatchCard(**CARD).name = "other"


def test_a_self_test_that_can_tell_patch_from_base_is_taken() -> None:
    assert SelfTest(**SELF_TEST).tolerance == 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": (0, 3)}, "within its probe"),
        ({"positions": (0, 0)}, "repeat"),
        ({"patched": ((1.0, 2.0),)}, "one row per position"),
        ({"base": ((1.0, 2.0), (3.0,))}, "one row per position"),
        ({"base": ((1.0, 2.0), (3.0, 4.005))}, "cannot show that the patch is active"),
        ({"tolerance": 0.5}, "cannot show that the patch is active"),
        ({"tolerance": 0.0}, "greater than 0"),
        ({"patched": ((1.0, float("nan")), (3.0, 4.0))}, "finite"),
    ],
)
def test_a_self_test_that_proves_nothing_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SelfTest(**{**SELF_TEST, **change})
