"""compose sign, and what show, add and check make of a signature, as someone at a terminal meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.cli import main
from compose.trust.lockfile import write_lock_file
from compose.trust.store import Store
from tests.unit.trust.cases import folder_of, locked, members, patch

SIGNED = "signature.json"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with two patches in a store, their lock, and an author's key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPOSE_KEY_PASSPHRASE", raising=False)
    for one in members():
        folder_of(one, tmp_path / one.card.name)
    assert main(["add", "tox", "bias"]) == 0
    assert main(["keys", "new", "alice", "--role", "author"]) == 0
    write_lock_file(tmp_path / "compose.lock", locked(members()))
    return tmp_path


def entry(name: str) -> Path:
    """Return the folder of a patch in the store."""
    store = Store(Path("store"))
    return store.patches / store.versions(name)[0].entry


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Return how a command ends, and what it says."""
    capsys.readouterr()
    status = main(list(words))
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_what_is_signed_is_said_by_show_and_stays_signed_wherever_it_goes(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "signed" in said(capsys, "show", str(entry("tox")))[1].splitlines()[-1]
    assert said(capsys, "show", str(entry("tox")))[1].endswith("by nobody\n")
    status, printed = said(capsys, "sign", "tox", "bias", "--key", "alice")
    assert status == 0
    assert [line.partition(" (")[0] for line in printed.splitlines()] == [
        "tox 1.0.0: signed by alice",
        "bias 1.0.0: signed by alice",
    ]

    assert main(["add", str(entry("tox")), "--store", "elsewhere"]) == 0
    copy = Path("elsewhere") / "patches" / entry("tox").name
    assert (copy / SIGNED).read_bytes() == (entry("tox") / SIGNED).read_bytes()
    last = said(capsys, "show", str(copy))[1].splitlines()[-1]
    assert last.split("  ")[0] == "signed"
    assert "by alice (" in last
    assert "key-unknown" in said(capsys, "show", str(copy), "--keys", "nobodys")[1]


def test_a_check_warns_of_unsigned_patches_and_denies_those_that_are_pinned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, printed = said(capsys, "check", "compose.lock")
    assert status == 0
    assert printed.count("warning patch-unsigned") == 2
    assert "tox: signed by alice, or denied" in said(capsys, "keys", "pin", "alice", "tox")[1]
    assert "tox: signed by alice, or denied" in said(capsys, "keys", "list")[1]
    status, printed = said(capsys, "check", "compose.lock")
    assert status == 1
    assert "error patch-unsigned: patch tox 1.0.0" in printed
    assert "warning patch-unsigned: patch bias 1.0.0" in printed

    assert main(["sign", "tox", "bias"]) == 0  # the only author at hand
    assert said(capsys, "check", "compose.lock")[1].endswith("1 warning\n")
    assert "key-unknown" in said(capsys, "check", "compose.lock", "--keys", "nobodys")[1]


def test_a_pin_is_handed_on_with_the_keyring(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "pin", "alice", "tox"]) == 0
    assert main(["keys", "export", "--out", "public.json"]) == 0

    lines = said(capsys, "keys", "import", "public.json", "--keys", "theirs")[1].splitlines()
    assert lines[-1] == "tox: signed by alice, or denied"
    assert said(capsys, "keys", "import", "public.json", "--keys", "theirs")[1] == "nothing new\n"
    assert said(capsys, "check", "compose.lock", "--keys", "theirs")[0] == 1


def test_an_author_signs_anew_after_a_rotation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "tox", "bias", "--key", "alice"]) == 0
    before = (entry("tox") / SIGNED).read_bytes()
    assert main(["keys", "rotate", "alice"]) == 0
    assert main(["sign", "tox", "bias", "--key", "alice"]) == 0

    assert (entry("tox") / SIGNED).read_bytes() != before
    assert said(capsys, "check", "compose.lock")[1].endswith("1 warning\n")


def test_the_version_that_is_named_is_signed(place: Path) -> None:
    folder_of(patch("tox", "toxicity", seed=1, version="1.1.0"), place / "newer")
    assert main(["add", "newer"]) == 0
    assert main(["sign", "tox", "--version", "1.0.0"]) == 0

    newest, oldest = (Path("store/patches") / one.entry for one in Store(Path("store")).versions("tox"))
    assert not (newest / SIGNED).exists()
    assert (oldest / SIGNED).exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tox", "nothing"], "store-missing"),
        (["tox", "--version", "9.0.0"], "store-missing"),
        (["tox", "--key", "bob"], "key-missing"),
        (["tox", "--key", "eve"], "key-role"),
        (["tox", "--keys", "nobodys"], "keyring-invalid"),
    ],
)
def test_what_cannot_be_signed_is_said_and_nothing_is(
    capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    assert main(["keys", "new", "eve", "--role", "evaluator"]) == 0
    status, printed = said(capsys, "sign", *words)

    assert status == 2
    assert printed.startswith(f"{code}:")
    assert list(Path("store").rglob(SIGNED)) == []


def test_nobody_signs_what_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    tensor = "adapter_model.safetensors"
    (entry("tox") / tensor).write_bytes((entry("bias") / tensor).read_bytes())

    status, printed = said(capsys, "sign", "tox")
    assert (status, printed.partition(":")[0]) == (2, "store-damaged")
    assert not (entry("tox") / SIGNED).exists()
