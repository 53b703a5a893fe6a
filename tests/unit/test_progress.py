"""Progress in a log file: plain lines on stderr, nothing redrawn."""

from __future__ import annotations

import pytest

from compose.progress import PlainLines, bar


def test_a_log_gets_whole_lines_that_say_what_is_done_and_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(4, "working") as progress:
        progress.update(4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    assert captured.err.splitlines()[-1].startswith("working: 4/4 it")


def test_bytes_are_scaled(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(2_000_000, "fetching", unit="B") as progress:
        progress.update(2_000_000)
    assert "2.00M/2.00M B" in capsys.readouterr().err


def test_a_redrawn_bar_that_says_the_same_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    for text in ("\ra: 1/2", "\ra: 1/2", "\r", "\ra: 2/2", "\n"):
        lines.write(text)
    assert capsys.readouterr().err == "a: 1/2\na: 2/2\n"


def test_quiet_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(2, "working", quiet=True) as progress:
        progress.update(2)
    assert capsys.readouterr().err == ""
