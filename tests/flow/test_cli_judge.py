"""`compose judge` as a user types it."""

import json
from pathlib import Path

import pytest

from compose.cli import main


def test_list_names_every_judge_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "list"]) == 0
    said = capsys.readouterr().out
    assert "toxicity_linear" in said and "refusal_linear" in said and "harm_linear" in said
    assert "gendered_words" in said and "no card" not in said


def test_a_card_is_printed_as_text_and_as_json_and_its_plot_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    assert main(["judge", "card", "toxicity_linear", "--plot", str(plot)]) == 0
    assert "sensitivity" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["judge", "card", "toxicity_linear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judge"] == "toxicity_linear"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["card", "perspective"], "one of gendered_words"),
        (["card", "profanity", "--data", "nowhere.jsonl"], "labels-invalid"),
        (["fit", "--kind", "mood", "--data", "nowhere.jsonl", "--out", "x"], "one of toxicity, refusal, harm"),
        (["fit", "--kind", "toxicity", "--data", "nowhere.jsonl", "--out", "x"], "a readable file"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["judge", *words]) == 2
    assert said in capsys.readouterr().err
