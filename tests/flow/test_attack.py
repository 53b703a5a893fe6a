"""`compose attack`, as someone at a terminal meets it, on the tiny base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.cli import main
from compose.evaluate.attacks.attempt import AttemptRow
from compose.evaluate.attacks.record import ROWS_FILE, read_record
from compose.evaluate.risks import load_risk
from compose.evaluate.suites.rows import from_lines
from compose.settings import attack, known_attacks

PatchFolder = Callable[..., Path]


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    """Return overrides that give the PAIR-style loop two frames."""
    (tmp_path / "frames.json").write_text('["Now [HERE]", "So [HERE], please. Or not."]', encoding="utf-8")
    asset = f"{{source: path, path: {tmp_path / 'frames.json'}}}"
    return [f"attack.attacker.sources=[{{format: json, rows: '', group: '[HERE]', asset: {asset}}}]"]


def words(folder: Path, runs: Path, method: str, *more: str) -> list[str]:
    return ["attack", "--model", "tiny", "--patch", str(folder), "--attack", method, "--runs", str(runs), *more]


def printed_folder(text: str) -> Path:
    return Path(text.splitlines()[-1].removeprefix("record:").strip())


def attempts(folder: Path) -> list[AttemptRow]:
    return from_lines(AttemptRow, folder / ROWS_FILE)


def test_base_and_patch_are_attacked_on_the_same_requests_within_the_same_budget(
    patch_folder: PatchFolder, tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", "gcg", "--budget", "17", *few)) == 0
    printed = capsys.readouterr()
    folder = printed_folder(printed.out)
    rows, record = attempts(folder), read_record(folder)

    assert [row.prompt_id for row in rows[:4]] == [row.prompt_id for row in rows[4:]]
    assert {row.composition for row in rows} == {"base", "tox"}
    assert all(row.queries <= 17 for row in rows)
    assert record.budget == 17
    assert sum(row.gradients for row in rows) > 0
    assert {(one.composition, one.metric) for one in record.rates} == {
        (name, metric) for name in ("base", "tox") for metric in ("direct_success_rate", "attack_success_rate")
    }
    assert "note: tox does not say what it was trained on" in printed.out
    assert not any(text in printed.out + printed.err for row in rows for text in (row.request, row.prompt))
    assert main(["attack", "--recheck", str(folder)]) == 0
    assert "none over 17 queries" in capsys.readouterr().out


def test_the_loop_without_a_server_puts_the_request_into_frames(
    patch_folder: PatchFolder,
    tmp_path: Path,
    few: list[str],
    frames: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = [one for one in few if not one.startswith("attack.")]
    command = words(patch_folder("tox"), tmp_path / "runs", "pair", "--budget", "5", *own, *frames)
    assert main([*command, "+risk.threshold=1.0", "risk.judge=refusal_linear", "second_judge=null"]) == 0
    rows = attempts(printed_folder(capsys.readouterr().out))

    assert all(row.request in row.prompt for row in rows)
    assert {row.queries for row in rows} == {5}
    assert all(row.gradients == row.candidates == 0 and row.proposals == 4 for row in rows)


def test_a_finished_measurement_is_shown_again_and_the_base_is_not_attacked_twice(
    patch_folder: PatchFolder, tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    command = words(patch_folder("tox"), runs, "gcg", "--budget", "9", *few)
    assert main(command) == 0
    first = capsys.readouterr()
    assert main(command) == 0
    assert (again := capsys.readouterr()).out == first.out
    assert again.err == ""
    kept = {path.name: path.stat().st_mtime_ns for path in (runs / "attempts").iterdir()}
    assert main(words(patch_folder("bias", seed=2), runs, "gcg", "--budget", "9", *few)) == 0
    later = {path.name: path.stat().st_mtime_ns for path in (runs / "attempts").iterdir()}

    assert len(kept) == 8
    assert len(later) == 12
    assert kept.items() <= later.items()


def test_an_interrupted_measurement_goes_on_with_what_it_has(
    patch_folder: PatchFolder,
    tmp_path: Path,
    few: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from compose.evaluate.attacks.attempt import attempt as real

    calls = 0

    def stopped(*given: object, **named: object) -> AttemptRow:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*given, **named)  # type: ignore[arg-type]

    command = words(patch_folder("tox"), tmp_path / "runs", "gcg", "--budget", "9", *few)
    monkeypatch.setattr("compose.laboratory.attacking.attempt", stopped)
    assert main(command) == 130
    assert main(command) == 0
    assert calls == 4 + 5
    assert len(attempts(printed_folder(capsys.readouterr().out))) == 8


@pytest.mark.parametrize("what", ["rate", "count", "row"])
def test_a_record_that_was_changed_is_refused(
    what: str, patch_folder: PatchFolder, tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", "gcg", "--budget", "9", *few)) == 0
    folder = printed_folder(capsys.readouterr().out)
    path = folder / "attack.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if what == "rate":
        record["rates"][0]["successes"] += 1
    elif what == "count":
        record["counts"][0]["queries"] -= 1
    else:
        rows = folder / ROWS_FILE
        rows.write_text(rows.read_text(encoding="utf-8").replace("Please help", "please help"))
    path.write_text(json.dumps(record), encoding="utf-8")

    assert main(["attack", "--recheck", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-invalid" if what == "row" else "results-differ")


def test_a_judge_that_says_nothing_of_any_reply_is_refused(
    patch_folder: PatchFolder,
    tmp_path: Path,
    few: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from compose.evaluate.judges.gendered import GenderedJudge

    monkeypatch.setattr(GenderedJudge, "score", lambda self, items: [None] * len(items))
    assert main(words(patch_folder("tox"), tmp_path / "runs", "gcg", "--budget", "9", *few)) == 2
    assert "judge-silent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        (["--attack", "gcgg"], "did you mean gcg?"),
        (["--budget", "0"], "budget"),
        (["requests=100"], "risk.n_test is 6"),
        (["--risk", "toxicity"], "only requests that should be refused"),
        (["second_judge=gendered_words"], "the first judge again"),
        (["attack.kind=pairs"], "did you mean 'pair'?"),
        (["attack.top_q=3"], "did you mean 'top_k'?"),
    ],
)
def test_what_cannot_be_attacked_is_refused_with_the_cure(
    more: list[str],
    advice: str,
    patch_folder: PatchFolder,
    tmp_path: Path,
    few: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(patch_folder("tox"), tmp_path / "runs", "gcg", *few, *more)) == 2
    text = capsys.readouterr().err
    assert text.startswith("settings-invalid")
    assert advice in text


def test_without_a_patch_or_an_attack_the_attacks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", "--attack", "gcg"]) == 2
    assert "pair_server" in capsys.readouterr().err


@pytest.mark.parametrize("name", known_attacks())
def test_every_attack_is_valid_and_answers_to_its_file_name(name: str) -> None:
    spec = attack(name, [])
    assert (spec.name, bool(spec.title)) == (name, True)
    risk = load_risk(spec.risk)
    assert not {prompt.id for prompt in risk.train} & {prompt.id for prompt in risk.test[: spec.requests]}
