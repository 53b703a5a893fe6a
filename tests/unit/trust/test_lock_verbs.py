"""compose add, init, lock, diff and why, as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compose import artifact
from compose.artifact import Patch
from compose.cli import main
from compose.trust.store import Store

Make = Callable[..., Patch]


@pytest.fixture
def folders(make_patch: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with patches/toxicity and patches/bias."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("toxicity", [[1.0, 2.0], [3.0, 4.0]]), ("bias", [[5.0, 6.0], [7.0, 8.0]])):
        artifact.save(make_patch(rows, name=name, version="1.0.0"), tmp_path / "patches" / name)
    return tmp_path


def typed(line: str) -> int:
    return main(line.split())


def test_from_folders_to_a_lock(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("add patches/toxicity patches/bias") == 0
    assert typed("init toxicity bias --name both") == 0
    assert "next: read it, then `compose lock manifest.toml`" in capsys.readouterr().out
    assert typed("lock manifest.toml") == 0
    written = capsys.readouterr().out
    assert "compose.lock: written, both 1.0.0, sha256:" in written
    assert "concat    1.0.0  4 tokens  sha256:" in written
    before = (folders / "compose.lock").read_bytes()

    for line in ("lock manifest.toml", "lock manifest.toml --locked", "lock manifest.toml --upgrade"):
        assert typed(line) == 0
        assert "compose.lock: unchanged" in capsys.readouterr().out
    assert typed("lock manifest.toml --frozen") == 0
    assert "as it is" in capsys.readouterr().out
    assert (folders / "compose.lock").read_bytes() == before


def test_a_lock_that_would_change_is_refused_with_locked_and_changed_without(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("add patches/toxicity patches/bias")
    typed("init --name both")
    assert typed("lock manifest.toml --locked") == 2
    assert "no such file" in capsys.readouterr().err
    typed("lock manifest.toml")
    before = (folders / "compose.lock").read_bytes()
    (folders / "old.lock").write_bytes(before)
    manifest = folders / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("limit = 1.5", "limit = 1.2"))
    capsys.readouterr()

    assert typed("lock manifest.toml --locked") == 2
    assert "lock-stale" in (said := capsys.readouterr().err)
    assert "the manifest's gates is another" in said
    assert (folders / "compose.lock").read_bytes() == before
    assert typed("lock manifest.toml --frozen") == 0
    assert typed("lock manifest.toml") == 0
    capsys.readouterr()
    assert typed("diff old.lock compose.lock") == 0
    assert (
        "- gate: utility/perplexity_ratio limit=1.5\n+ gate: utility/perplexity_ratio limit=1.2"
        in capsys.readouterr().out
    )
    assert typed("diff old.lock compose.lock --json") == 0
    assert {change["what"] for change in json.loads(capsys.readouterr().out)} == {"gate", "manifest"}
    assert typed("diff old.lock old.lock") == 0
    assert capsys.readouterr().out == "no difference\n"


def test_a_damaged_lock_is_made_anew_and_refused_with_locked_and_frozen(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("add patches/toxicity patches/bias")
    typed("init")
    typed("lock manifest.toml")
    lock = folders / "compose.lock"
    good = lock.read_bytes()
    lock.write_bytes(good.replace(b'"tokens": 4', b'"tokens": 5'))

    for mode in ("--locked", "--frozen"):
        assert typed(f"lock manifest.toml {mode}") == 2
        assert "lock-invalid" in capsys.readouterr().err
    assert typed("lock manifest.toml") == 0
    assert "is made anew, for it is no lock" in capsys.readouterr().err
    assert lock.read_bytes() == good


def test_why_is_answered(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed("add patches/toxicity patches/bias")
    typed("add patches/toxicity --version 0.9.0")
    typed("init toxicity bias --name both")
    typed("lock manifest.toml")
    capsys.readouterr()

    assert typed("why toxicity") == 0
    assert capsys.readouterr().out.splitlines() == [
        "toxicity 1.0.0 is patch 1 of 2 in both 1.0.0",
        "the manifest asks for toxicity ^1.0.0",
        "not 0.9.0: toxicity 0.9.0 is not in ^1.0.0",
    ]
    assert typed("why harm") == 2


def test_relations_are_given_on_the_command_line_and_explained(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("add patches/bias")
    assert (
        typed("add patches/toxicity --conflicts bias^1.0.0 --requires guard --breaks harm<2.0.0 --provides clean") == 0
    )
    typed("init toxicity bias")
    capsys.readouterr()

    assert typed("lock manifest.toml") == 2
    assert "because toxicity 1.0.0 conflicts with bias ^1.0.0" in capsys.readouterr().err.replace("none, ", "")
    card = Store(folders / "store").versions("toxicity")[0].card
    assert (card.requires[0].name, card.breaks[0].range, card.provides) == ("guard", "<2.0.0", ("clean",))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("add patches/none", "artifact-missing"),
        ("add patches/toxicity patches/bias --name one", "settings-invalid"),
        ("add patches/toxicity --version 1.0", "card-invalid"),
        ("add patches/toxicity --requires bias>=1", "version-invalid"),
        ("add patches/toxicity --requires toxicity", "card-invalid"),
        ("add patches/toxicity --provides Clean", "card-invalid"),
        ("add patches/bias --name toxicity", "store-conflict"),
        ("init", "already-exists"),
        ("init harm --out other.toml", "store-missing"),
        ("init --store none --out other.toml", "store-missing"),
        ("init --run runs/x --out other.toml", "settings-invalid"),
        ("init bias --run runs/x --arm mean --out other.toml", "settings-invalid"),
        ("init --run runs/x --arm mean --out other.toml", "artifact-missing"),
        ("init --name Both --out other.toml", "manifest-invalid"),
        ("lock none.toml", "manifest-invalid"),
        ("lock manifest.toml --store none", "resolve-impossible"),
        ("diff compose.lock none.lock", "lock-invalid"),
    ],
)
def test_what_cannot_be_done_is_said(folders: Path, line: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed("add patches/toxicity patches/bias")
    typed("init")
    before = sorted(path for path in folders.rglob("*") if path.suffix != ".lock")
    capsys.readouterr()

    assert typed(line) == 2
    assert capsys.readouterr().err.startswith(f"{code}: ")
    assert sorted(path for path in folders.rglob("*") if path.suffix != ".lock") == before


def test_an_arm_of_a_run_goes_to_a_lock_in_two_commands(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "run").mkdir()
    (folders / "patches").rename(folders / "run" / "patches")
    assert typed("concat run/patches/toxicity run/patches/bias --out run/patches/both --name both") == 0
    assert typed("init --run run --arm both") == 0
    assert typed("lock manifest.toml") == 0

    composed = artifact.load(folders / "run" / "patches" / "both").card
    assert composed.prefix in capsys.readouterr().out


def test_nothing_of_it_imports_torch(folders: Path) -> None:
    program = (
        "import sys; from compose.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    assert main(line.split()) == 0, line\n"
        "heavy = {'torch', 'transformers', 'hydra', 'omegaconf', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    lines = [
        "add patches/toxicity patches/bias",
        "init",
        "lock manifest.toml",
        "why bias",
        "diff compose.lock compose.lock",
    ]
    # The package lies where this test found it, not where its working folder is.
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program, *lines], capture_output=True, text=True, check=False, env=paths
    )

    assert done.returncode == 0, done.stderr
