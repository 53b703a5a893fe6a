"""The suites that ship are those that their settings and their pinned sources make: prompts, samples and judges."""

from __future__ import annotations

import json
import os

import pytest

from compose.cli import main
from compose.trust.suites import shipped_pins


def test_the_digests_that_ship_are_those_of_the_suites(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMPOSE_CACHE", raising=False)  # the user's own: the prompts need not be fetched for each test
    if cache := os.environ.get("COMPOSE_TEST_CACHE"):
        monkeypatch.setenv("COMPOSE_CACHE", cache)
    shipped = shipped_pins()

    assert main(["evaluate", *(word for name in sorted(shipped.suites) for word in ("--pin", name))]) == 0

    assert json.loads(capsys.readouterr().out) == shipped.model_dump(mode="json")
