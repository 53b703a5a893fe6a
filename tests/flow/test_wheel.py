"""The built wheel works far from the checkout: installed into an empty environment, with the settings inside it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import compose

ROOT = Path(__file__).parents[2]


def run(*words: str | Path, folder: Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return a finished command, run in `folder` with nothing of the checkout on Python's path."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    if cache is not None:
        environment["COMPOSE_CACHE"] = str(cache)
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout, built with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder)
    done = run(sys.executable, "-m", "pip", "wheel", *options, ROOT, folder=folder)

    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel in it. Its other packages are borrowed, so that nothing is fetched."""
    folder = tmp_path_factory.mktemp("elsewhere")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder).returncode == 0
    python = folder / "bin" / "python"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    # A folder named in a .pth file is searched, but .pth files inside it are not read: an editable installation of
    # the checkout over there stays out of sight.
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_holds_the_settings_and_not_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    conf = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("conf/**/*.yaml")}

    assert {f"compose/{path}" for path in conf} <= set(names)
    assert {name.split("/")[0] for name in names} == {"compose", f"compose-{compose.__version__}.dist-info"}
    assert not any("__pycache__" in name for name in names)


def test_python_finds_the_wheel_and_not_the_checkout(elsewhere: Path, tmp_path: Path) -> None:
    program = "import compose, compose.conf_path as c; print(compose.__file__); print(c.conf_folder())"
    done = run(elsewhere / "bin" / "python", "-c", program, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(elsewhere) for line in done.stdout.splitlines())


def test_the_command_is_installed(elsewhere: Path, tmp_path: Path) -> None:
    done = run(elsewhere / "bin" / "compose", "--help", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


def test_doctor_runs_a_patch_there(elsewhere: Path, tmp_path: Path) -> None:
    done = run(elsewhere / "bin" / "compose", "doctor", "--model", "tiny", folder=tmp_path, cache=tmp_path / "cache")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "is active" in done.stdout


def test_settings_out_of_the_wheel_are_composed_there(elsewhere: Path, tmp_path: Path) -> None:
    words = ("train", "risk=toxicity", "model=tiny", "trainer.batch_sise=2")
    done = run(elsewhere / "bin" / "compose", *words, folder=tmp_path, cache=tmp_path / "cache")

    assert done.returncode == 2, done.stderr
    assert "batch_size" in done.stderr
    assert "Traceback" not in done.stderr
