"""What the README shows, works: its Python runs, its commands, settings and links exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.artifact import load
from compose.cli import VERBS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return every shell command, in words, without its comment."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_ten_lines_of_python_run_on_any_base(
    patch_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (program,) = blocks("python")
    lines = [line for line in program.splitlines() if line.strip()]
    for seed, name in enumerate(("toxicity", "bias")):
        patch_folder(f"patches/{name}", seed=seed)
    monkeypatch.chdir(tmp_path)

    assert len(lines) <= 10
    exec(compile(program.replace("smollm2", "tiny"), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()
    assert load(tmp_path / "patches" / "both").card.tokens == 16


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = {words[1] for words in commands() if words[0] == "make"}

    assert shown >= {"reproduce", "test"}
    assert shown <= set(targets)


def test_every_verb_exists_and_is_shown() -> None:
    shown = {words[1] for words in commands() if words[0] == "compose"}
    named = set(re.findall(r"`compose ([a-z]+)", README))

    assert shown | named == set(VERBS)


def test_every_module_that_is_run_exists() -> None:
    modules = {words[2] for words in commands() if words[:2] == ["python", "-m"]}

    assert modules
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_setting_that_is_chosen_is_a_file() -> None:
    words = {word for command in commands() for word in command} | set(re.findall(r"`(\w+=\w+)`", README))
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    chosen = [
        (group, value)
        for group, mark, values in (w.partition("=") for w in words)
        for value in values.split(",")
        if mark and group in groups
    ]

    assert chosen
    for group, value in chosen:
        assert value == "NAME" or (ROOT / "conf" / group / f"{value}.yaml").is_file(), f"{group}={value}"


def test_every_model_of_the_table_and_no_other_is_a_file() -> None:
    table = README.partition("| model |")[2].partition("\n\n")[0]
    first_cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}

    assert named == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}


def test_every_link_into_the_repository_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    heads = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    anchors = {"#" + re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}

    assert links
    assert [link for link in links if not (link in anchors if link.startswith("#") else (ROOT / link).exists())] == []
