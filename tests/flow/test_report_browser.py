"""The report in a real browser: it opens from the disk, draws, and writes nothing to the console."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from compose import report
from tests.unit.report.conftest import results, write_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_page_opens_from_the_disk_without_a_word_on_the_console(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", results(risks=("toxicity", "bias", "harm")))
    page = report.build([run], tmp_path / "report")
    words = [str(BROWSER), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    opened = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert opened.returncode == 0
    assert "<svg" in opened.stdout
    assert [line for line in opened.stderr.splitlines() if "CONSOLE" in line] == []
