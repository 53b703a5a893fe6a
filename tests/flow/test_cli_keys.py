"""compose keys, as someone at a terminal meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compose.cli import main
from compose.trust.keyring import read_keyring


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder of one's own, without a passphrase."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPOSE_KEY_PASSPHRASE", raising=False)


def test_keys_are_made_listed_rotated_revoked_and_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "alice", "--role", "evaluator"]) == 0
    assert "not encrypted" in capsys.readouterr().out
    assert main(["keys", "rotate", "alice", "--days", "30"]) == 0
    old, new = read_keyring(Path("keys")).keys
    assert main(["keys", "revoke", old.key_id[:8], "--reason", "laptop stolen"]) == 0
    capsys.readouterr()

    assert main(["keys", "list"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert old.key_id[:8] in first and "laptop stolen" in first
    assert new.key_id[:8] in second and second.endswith("counts")

    assert main(["keys", "export", "--out", "public.json"]) == 0
    assert main(["keys", "import", "public.json", "--keys", "theirs"]) == 0
    assert read_keyring(Path("theirs")) == read_keyring(Path("keys"))
    capsys.readouterr()
    assert main(["keys", "import", "public.json", "--keys", "theirs"]) == 0
    assert capsys.readouterr().out == "nothing new\n"
    assert main(["keys", "export"]) == 0
    assert capsys.readouterr().out == Path("public.json").read_text()


def test_the_passphrase_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPOSE_KEY_PASSPHRASE", "horse")

    assert main(["keys", "new", "alice", "--role", "author"]) == 0
    assert "not encrypted" not in capsys.readouterr().out
    assert b"ENCRYPTED" in Path("keys/alice.key").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["rotate", "nobody"],
        ["revoke", "nobody", "--reason", "x"],
        ["import", "nothing.json"],
        ["new", "../alice", "--role", "author"],
        ["new", "alice", "--role", "author", "--days", "0"],
    ],
)
def test_an_error_ends_with_2_and_leaves_no_key(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compose", "keys", *words], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()[1:]] == ["expected", "found", "fix"]
    assert not list(Path().rglob("*.key"))
