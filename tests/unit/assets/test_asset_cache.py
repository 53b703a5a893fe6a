"""Where the cache is, and when the network is left alone."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from compose.assets import cache_root, offline


def test_an_argument_comes_before_the_environment_and_that_before_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPOSE_CACHE", str(tmp_path / "chosen"))
    assert cache_root(tmp_path) == tmp_path
    assert cache_root() == tmp_path / "chosen"
    monkeypatch.delenv("COMPOSE_CACHE")
    assert cache_root() == Path(platformdirs.user_cache_dir("compose", appauthor=False))


def test_a_tilde_in_the_environment_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_CACHE", "~/somewhere")
    assert cache_root() == Path.home() / "somewhere"


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("TRUE", True), ("0", False), ("", False)])
def test_the_network_is_off_when_its_switch_says_yes(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("COMPOSE_OFFLINE", value)
    assert offline() is expected
    assert offline(hub=True) is expected


def test_the_hubs_own_switch_is_for_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPOSE_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert offline(hub=True)
    assert not offline()
