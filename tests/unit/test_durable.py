"""Writing that is finished or never happened."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compose import durable
from compose.errors import Rejected


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_replace_the_old_file_and_leave_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.bin"
    durable.write_bytes(path, b"old")
    durable.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file.bin"]


def test_json_is_written_with_sorted_keys_one_indent_and_a_newline(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "x.json", {"b": 1, "a": "é"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n "a": "é",\n "b": 1\n}\n'


def test_a_value_that_json_cannot_say_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    durable.write_json(path, [1])
    with pytest.raises(ValueError, match="JSON"):
        durable.write_json(path, [float("inf")])
    assert json.loads(path.read_text()) == [1]
    assert names(tmp_path) == ["x.json"]


def test_a_written_file_may_be_read_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        durable.write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EROFS, "read-only"), (errno.EACCES, "read-only")],
)
def test_a_disk_that_refuses_is_named_and_the_old_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Rejected) as caught:
        durable.write_bytes(path, b"new")
    assert caught.value.code == code
    assert str(path) in caught.value.subject
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), durable.refused_by_disk(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "is a directory")


def test_a_new_folder_appears_only_when_its_block_has_succeeded(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with durable.new_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert names(target) == ["a"]
    assert names(target.parent) == ["folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_new_folder_vanishes_when_its_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), durable.new_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("1")
        raise error
    assert names(tmp_path) == []


def test_a_folder_that_exists_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Rejected, match="already-exists"), durable.new_folder(tmp_path / "folder"):
        pytest.fail("the block must not run")


def test_a_folder_that_another_process_made_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(Rejected, match="already-exists"), durable.new_folder(target) as temporary:
        (temporary / "mine").touch()
        target.mkdir()
        (target / "theirs").touch()
    assert names(target) == ["theirs"]
    assert names(tmp_path) == ["folder"]


def test_a_replaced_folder_holds_only_the_new_files(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with durable.new_folder(target, replace=True) as temporary:
        (temporary / "new").touch()
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_the_old_folder_survives_when_its_replacement_fails(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), durable.new_folder(target, replace=True):
        raise RuntimeError
    assert names(target) == ["old"]


def test_a_folder_that_was_moved_aside_comes_back_when_its_replacer_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        if to == target and path.name.count("-of-") == 0:
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), durable.new_folder(target, replace=True):
        pass
    assert names(tmp_path) == ["folder"]
    assert names(target) == ["old"]


def test_sweeping_puts_back_what_a_killed_replacer_had_moved_aside(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from compose import durable\n"
        "target, rename = Path(sys.argv[1]) / 'folder', Path.rename\n"
        "def killed(path, to):\n"
        "    if to == target: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rename(path, to)\n"
        "Path.rename = killed\n"
        "with durable.new_folder(target, replace=True): pass\n"
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert not (tmp_path / "folder").exists()
    durable.sweep(tmp_path)
    assert names(tmp_path / "folder") == ["old"]


def test_files_that_libraries_write_privately_become_readable_in_a_new_folder(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with durable.new_folder(tmp_path / "folder") as temporary:
            (temporary / "private").touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "private").stat().st_mode & 0o777 == 0o644


def test_an_unreadable_file_of_others_is_no_read_only_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), durable.new_folder(tmp_path / "folder"):
        raise PermissionError(errno.EACCES, "denied", "/somewhere/else")


def test_a_scratch_folder_vanishes_after_success_and_after_failure(tmp_path: Path) -> None:
    with durable.scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
    with pytest.raises(KeyboardInterrupt), durable.scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_finished_file_moves_over_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "finished").write_text("new")
    durable.move_into_place(tmp_path / "finished", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"
    assert names(tmp_path) == ["target"]


def test_a_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with durable.locked(tmp_path / "thing"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_four_processes_make_1200_updates_of_one_file_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "count.json"
    durable.write_json(path, 0)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(300):
                    with durable.locked(path):
                        durable.write_json(path, json.loads(path.read_bytes()) + 1)
                status = 0
            finally:
                os._exit(status)
        children.append(child)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert json.loads(path.read_bytes()) == 1200
    assert names(tmp_path) == ["count.json", "count.json.lock"]


def test_a_lock_that_stays_taken_is_reported(tmp_path: Path) -> None:
    with (
        durable.locked(tmp_path / "thing"),
        pytest.raises(Rejected, match="locked"),
        durable.locked(tmp_path / "thing", timeout_s=0),
    ):
        pytest.fail("the block must not run")


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), durable.locked(tmp_path / "thing"):
        raise RuntimeError
    with durable.locked(tmp_path / "thing", timeout_s=0):
        pass


def test_sweeping_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from compose import durable\n"
        "with durable.new_folder(Path(sys.argv[1]) / 'folder') as temporary:\n"
        "    (temporary / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(names(tmp_path)) == 1
    with durable.scratch_folder(tmp_path) as mine:
        (tmp_path / "result").touch()
        assert durable.sweep(tmp_path) == 1
        assert names(tmp_path) == sorted([mine.name, "result"])


def test_sweeping_leaves_the_fresh_temporaries_of_other_hosts_and_removes_old_ones(tmp_path: Path) -> None:
    fresh = tmp_path / f"{durable.TEMPORARY_PREFIX}elsewhere-1-abc"
    old = tmp_path / f"{durable.TEMPORARY_PREFIX}elsewhere-1-def"
    fresh.mkdir()
    old.touch()
    os.utime(old, (0, 0))
    assert durable.sweep(tmp_path) == 1
    assert names(tmp_path) == [fresh.name]


def test_sweeping_a_folder_that_is_not_there_removes_nothing(tmp_path: Path) -> None:
    assert durable.sweep(tmp_path / "missing") == 0


def test_the_temporary_of_a_process_that_may_not_be_asked_or_of_nobody_now_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: int) -> None:
        raise PermissionError

    (tmp_path / f"{durable.TEMPORARY_PREFIX}{durable._host()}-1-abc").mkdir()
    monkeypatch.setattr(os, "kill", refuse)
    assert durable.sweep(tmp_path) == 0

    finished_meanwhile = tmp_path / f"{durable.TEMPORARY_PREFIX}elsewhere-1-abc"
    assert not durable._abandoned(finished_meanwhile)


def test_a_library_that_names_a_full_disk_in_its_own_words_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(Rejected) as caught, durable.refused_by_disk(path):
        raise RuntimeError("I/O error: No space left on device (os error 28)\nbacktrace")
    assert caught.value.code == "disk-full"
    assert "(os error 28) (" in caught.value.got and "backtrace" not in caught.value.got
    assert "MB free under" in caught.value.got
    with pytest.raises(RuntimeError, match="another"), durable.refused_by_disk(path):
        raise RuntimeError("another fault")


@pytest.mark.parametrize(("number", "kept"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_flushed_is_no_error_and_a_failing_disk_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kept: bool
) -> None:
    def flush(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", flush)
    if kept:
        durable.write_bytes(tmp_path / "x", b"new")
    else:
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            durable.write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"  # renamed into place before its folder is flushed
    assert names(tmp_path) == ["x"]


def test_whoever_waits_for_a_lock_is_told_what_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        durable.locked(tmp_path / "thing"),
        pytest.raises(Rejected, match="locked"),
        durable.locked(tmp_path / "thing", timeout_s=0.01, waiting_for="another writer"),
    ):
        pytest.fail("the block must not run")
    assert capsys.readouterr().err == "waiting for another writer\n"
