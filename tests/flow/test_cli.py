"""The command line, as someone at a terminal meets it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import compose
from compose.artifact import load
from compose.cli import VERBS, main
from compose.cli.text import side_by_side
from compose.cli.verb import Verb
from compose.parse import read_card

PatchFolder = Callable[..., Path]

OTHER_BASE = "sha256:" + "0" * 64


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return the four lines of the error that a call ends with."""
    status = main(words)
    lines = capsys.readouterr().err.splitlines()

    assert status == 2
    assert [line.partition(":")[0].strip() for line in lines[-3:]] == ["expected", "found", "fix"]
    return lines[-4:]


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])

    printed = capsys.readouterr().out
    assert exit_.value.code == 0
    assert all(verb in printed for verb in VERBS)


def test_a_word_that_is_no_verb_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["improve"])

    assert exit_.value.code == 2
    assert "improve" in capsys.readouterr().err


def test_python_m_compose_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "compose", "--version"], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == f"compose {compose.__version__}"


def test_show_prints_the_card_and_counts_what_is_long(
    patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(patch_folder("tox"))]) == 0

    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    values = {name: value.strip() for name, value in rows.items()}
    assert values["name"] == "tox"
    assert values["version"] == "1.2.3"
    assert values["tokens"] == "8"
    assert values["self_test.vocabulary"] == "[16 values]"
    assert values["metrics.toxicity/toxic_rate_per_prompt"] == "0.25 (lower is better, n 40)"


def test_show_as_json_is_the_card(patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = patch_folder("tox")

    assert main(["show", "--json", str(folder)]) == 0
    assert read_card(capsys.readouterr().out.encode(), subject="printed") == load(folder).card


def test_concat_puts_the_patches_in_order_under_the_wanted_name(patch_folder: PatchFolder, tmp_path: Path) -> None:
    tox, bias = patch_folder("tox", seed=1), patch_folder("bias", seed=2)

    words = ["concat", str(tox), str(bias), "--out", str(tmp_path / "both")]
    assert main([*words, "--name", "both", "--version", "2.0.0"]) == 0
    both = load(tmp_path / "both")
    assert torch.equal(both.prefix, torch.cat([load(tox).prefix, load(bias).prefix]))
    assert (both.card.name, both.card.version) == ("both", "2.0.0")
    assert [parent.name for parent in both.card.parents] == ["tox", "bias"]


def test_a_composition_made_for_a_base_is_proven_on_it(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tox, bias = patch_folder("tox", seed=1), patch_folder("bias", seed=2)
    (bias / "patch.json").unlink()  # as PEFT alone would have written it

    out = str(tmp_path / "both")
    assert "a base that nobody recorded" in " ".join(failed(capsys, "concat", str(tox), str(bias), "--out", out))
    assert main(["concat", str(tox), str(bias), "--model", "tiny", "--out", out]) == 0
    both = load(Path(out)).card
    assert (both.status, both.base.name) == ("unproven", "tiny")
    assert both.self_test is not None
    capsys.readouterr()
    assert main(["generate", "--model", "tiny", "--patch", out, "--max-new-tokens", "4", "one two"]) == 0
    assert "(unproven)" in capsys.readouterr().out


def test_mean_takes_weights(patch_folder: PatchFolder, tmp_path: Path) -> None:
    tox, bias = patch_folder("tox", seed=1), patch_folder("bias", seed=2)

    assert main(["mean", str(tox), str(bias), "--weights", ".25,.75", "--out", str(tmp_path / "mean")]) == 0
    expected = 0.25 * load(tox).prefix.double() + 0.75 * load(bias).prefix.double()
    assert torch.equal(load(tmp_path / "mean").prefix, expected.float())


@pytest.mark.parametrize("weights", ["1,1", "1", "half,half", "nan,1"])
def test_weights_that_make_no_mean_are_refused(
    weights: str, patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [str(patch_folder("tox")), str(patch_folder("bias"))]

    failed(capsys, "mean", *parts, f"--weights={weights}", "--out", str(tmp_path / "mean"))
    assert not (tmp_path / "mean").exists()


def test_a_folder_that_is_there_is_not_overwritten(
    patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    tox = patch_folder("tox")
    before = (tox / "patch.json").read_bytes()

    assert failed(capsys, "concat", str(tox), "--out", str(tox))[0].startswith("already-exists")
    assert (tox / "patch.json").read_bytes() == before


def test_a_name_that_is_none_is_refused(
    patch_folder: PatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("concat", str(patch_folder("tox")), "--out", str(tmp_path / "new"))

    assert failed(capsys, *words, "--version", "2")[0].startswith("card-invalid")


def test_a_patch_that_is_not_there_is_four_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path / "nowhere") in failed(capsys, "show", str(tmp_path / "nowhere"))[0]


def test_generate_shows_both_completions_side_by_side(
    patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "--model", "tiny", "--patch", str(patch_folder("tox")), "--max-new-tokens", "8"]

    assert main([*words, "one two three"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "> one two three"
    assert [cell.strip() for cell in lines[1].split("|")] == ["without a patch", "tox 1.2.3"]


def test_generate_as_json_has_two_different_completions(
    patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "generate",
        "--json",
        "--model",
        "tiny",
        "--patch",
        str(patch_folder("tox")),
        "--max-new-tokens",
        "8",
    ]

    assert main([*words, "one two three", "four"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["prompt"], second["prompt"]) == ("one two three", "four")
    assert first["base"] != first["patched"]


def test_generate_refuses_a_patch_of_another_base(
    patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = patch_folder("tox", fingerprint=OTHER_BASE)

    assert failed(capsys, "generate", "--model", "tiny", "--patch", str(folder), "one")[0].startswith("base-mismatch")


def test_generate_refuses_an_unknown_base(patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    lines = failed(capsys, "generate", "--model", "smolm", "--patch", str(patch_folder("tox")), "one")

    assert lines[0].startswith("settings-invalid")


def test_generate_refuses_settings_out_of_range(patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "generate",
        "--model",
        "tiny",
        "--patch",
        str(patch_folder("tox")),
        "--max-new-tokens",
        "0",
        "one",
    )

    assert "max_new_tokens" in "".join(failed(capsys, *words))


def test_a_seed_below_zero_is_refused(patch_folder: PatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["generate", "--model", "tiny", "--patch", str(patch_folder("tox")), "--seed", "-1", "a"])
    assert exit_.value.code == 2
    assert "from 0 up" in capsys.readouterr().err


def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in side_by_side(["\x1b[2J", "b"], ["left", "right"], width=40)


def test_columns_are_as_wide_as_they_say() -> None:
    text = side_by_side(["one two three four", "x"], ["left", "right"], width=23)

    assert text.splitlines() == [
        "left       | right",
        "---------- | ----------",
        "one two    | x",
        "three four |",
    ]


def raising(error: BaseException) -> Verb:
    def run(_: argparse.Namespace) -> int:
        raise error

    return Verb("fail", lambda parser: None, run)


def test_ctrl_c_ends_with_130_and_says_that_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VERBS, "show", raising(KeyboardInterrupt()))

    assert main(["show"]) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_what_the_machine_refuses_is_said_like_any_other_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VERBS, "show", raising(PermissionError(13, "Permission denied", "/patches/tox")))

    assert failed(capsys, "show")[0] == "machine-refused: /patches/tox"


def test_a_mistake_of_ours_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "show", raising(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        main(["show"])


def states(printed: str) -> dict[str, str]:
    """Return what doctor found about each subject."""
    return {line[8:32].strip(): line[:6].strip() for line in printed.splitlines()}


def test_doctor_finds_nothing_broken_where_only_files_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--model", "smollm2"]) == 0

    found = states(capsys.readouterr().out)
    assert found["engine"] == "ok"
    assert found["cache"] == "ok"
    assert found["model/smollm2"] == "note"
    assert "broken" not in found.values()


def test_doctor_says_that_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPOSE_CACHE", str(tmp_path / "file"))

    assert main(["doctor", "--model", "tiny"]) in (1, 2)
    cache = next(line for line in capsys.readouterr().out.splitlines() if " cache " in line)
    assert cache.startswith("broken")
    assert "set COMPOSE_CACHE to a folder" in cache


def test_train_makes_a_measured_patch_and_shows_it_again_when_asked_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "debug=tiny", "risk=gender_bias", f"runs={tmp_path}", "seed=3"]

    assert main(words) == 0
    first = capsys.readouterr()
    folder = Path(first.out.splitlines()[0].removeprefix("patch:").strip())
    card = load(folder).card
    assert (card.strategy, card.risks, card.seed) == ("specialist", ("gender_bias",), 3)
    assert "gender_bias/gas" in card.metrics
    assert main(words) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert second.err == ""


def test_train_asks_for_a_risk(capsys: pytest.CaptureFixture[str]) -> None:
    assert "risk=NAME" in failed(capsys, "train", "debug=tiny")[1]


def test_train_knows_its_risks(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gender_bias" in failed(capsys, "train", "debug=tiny", "risk=gender")[1]


def test_train_refuses_an_unknown_key_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    lines = failed(capsys, "train", "debug=tiny", "risk=gender_bias", "trainer.batch_sise=2")

    assert "trainer.batch_sise" in lines[2]
    assert "batch_size" in lines[3]
