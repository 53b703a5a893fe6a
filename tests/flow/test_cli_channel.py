"""compose current, rollback and yank, as someone at a terminal meets them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compose.cli import main
from compose.trust.keys import new_key
from tests.unit.trust.shop import NAME, Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A channel with two releases of the last hour, in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPOSE_KEY_PASSPHRASE", raising=False)
    monkeypatch.setenv("COMPOSE_STATE", str(tmp_path / "state"))
    start = datetime.now(UTC) - timedelta(hours=1)
    new_key(tmp_path / "keys", "releaser", "releaser", now=start)
    shop = Shop(tmp_path, now=start)
    shop.release("1.0.0")
    shop.release("1.1.0")
    return shop


def test_a_maintainer_rolls_back_and_a_deployer_sees_why(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["current", NAME, "--channel", "channel"]) == 0
    assert "calm 1.1.0" in capsys.readouterr().out

    assert main(["rollback", NAME, "1.0.0", "--reason", "1.1.0 swears", "--channel", "channel"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(": 1.1.0 swears")
    assert main(["current", NAME, "--channel", "channel"]) == 0
    printed = capsys.readouterr().out
    assert "calm 1.0.0" in printed
    assert "by rollback: 1.1.0 swears" in printed

    assert main(["current", NAME, "--channel", "channel", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1.0.0"
    assert main(["current", NAME, "--channel", "channel", "--history"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["release", "release", "rollback"]


def test_a_yanked_release_is_refused_with_its_reason(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["yank", NAME, "1.1.0", "--reason", "leaks names", "--channel", "channel"]) == 0
    capsys.readouterr()

    assert main(["current", NAME, "--channel", "channel"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("release-withdrawn")
    assert "leaks names" in printed.err


def test_a_yanked_patch_takes_its_releases_with_it(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["yank", "tox", "1.1.0", "--patch", "--reason", "poisoned", "--channel", "channel"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(": poisoned")

    assert main(["current", NAME, "--channel", "channel"]) == 2
    assert "tox 1.1.0" in capsys.readouterr().err
    assert main(["rollback", NAME, "1.0.0", "--reason", "tox 1.1.0 is poisoned", "--channel", "channel"]) == 0
    assert main(["current", NAME, "--channel", "channel"]) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["rollback", NAME, "1.1.0", "--reason", "x", "--channel", "channel"], "release-order"),
        (["rollback", NAME, "1.0.0", "--reason", " ", "--channel", "channel"], "release-order"),
        (["rollback", NAME, "0.1.0", "--reason", "x", "--channel", "channel"], "release-missing"),
        (["yank", "tox", "9.0.0", "--patch", "--reason", "x", "--channel", "channel"], "release-missing"),
        (["yank", NAME, "1.0", "--reason", "x", "--channel", "channel"], "release-missing"),
        (["yank", "../calm", "1.0.0", "--reason", "x", "--channel", "channel"], "release-invalid"),
        (["yank", NAME, "1.0.0", "--reason", "x", "--channel", "nowhere"], "release-missing"),
        (["yank", NAME, "1.0.0", "--reason", "x", "--channel", "channel", "--keys", "none"], "keyring-invalid"),
        (["yank", NAME, "1.0.0", "--reason", "x", "--channel", "channel", "--key", "nobody"], "key-missing"),
        (["current", "other", "--channel", "channel"], "release-missing"),
        (["current", NAME, "--channel", "nowhere"], "channel-keys"),
        (["current", NAME, "--channel", "channel", "--keys", "none"], "keyring-invalid"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    before = (shop.channel / "metadata" / "timestamp.json").read_bytes()

    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"{code}:")
    assert (shop.channel / "metadata" / "timestamp.json").read_bytes() == before


def test_an_address_is_not_taken_for_a_folder_to_write_to(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["rollback", NAME, "1.0.0", "--reason", "x", "--channel", "https://patches.example/channel"])

    assert exit_.value.code == 2
    assert "copy that to the server" in capsys.readouterr().err
    assert not Path("https:").exists()


def test_who_signs_must_be_said_where_two_could(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["rollback", NAME, "1.0.0", "--reason", "x", "--channel", "channel"]
    new_key(shop.keys, "second", "releaser", now=datetime.now(UTC))

    assert main(words) == 2
    assert "--key" in capsys.readouterr().err
    assert main([*words, "--key", "releaser"]) == 0
