"""Errors as people, programs and other processes meet them."""

from __future__ import annotations

import errno
import io
import pickle
import sys

import pytest

from compose.errors import Rejected, exit_status


def rejected() -> Rejected:
    return Rejected("lock-invalid", subject="compose.lock", expected="a lock", got="a poem", fix="make it again")


def raising(error: BaseException) -> int:
    raise error


def test_an_error_is_four_lines_that_begin_with_its_code() -> None:
    assert str(rejected()).splitlines() == [
        "lock-invalid: compose.lock",
        "  expected: a lock",
        "  found:    a poem",
        "  fix:      make it again",
    ]


def test_a_code_that_is_in_no_table_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError, match="no-such-code"):
        Rejected("no-such-code", subject="", expected="", got="", fix="")


def test_an_error_comes_back_whole_from_another_process() -> None:
    again = pickle.loads(pickle.dumps(rejected()))

    assert type(again) is Rejected
    assert (again.code, str(again)) == ("lock-invalid", str(rejected()))


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_work_that_is_done_says_how_it_went(result: int | None, status: int) -> None:
    assert exit_status(lambda: result) == status


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (rejected(), 2, "lock-invalid: compose.lock\n"),
        (PermissionError(errno.EACCES, "Permission denied", "keys"), 2, "machine-refused: keys\n"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "machine-refused: a file, folder or connection\n"),
        (KeyboardInterrupt(), 130, "interrupted: "),
    ],
)
def test_what_goes_wrong_is_said_on_stderr_and_in_the_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(lambda: raising(error)) == status
    printed = capsys.readouterr()
    assert printed.err.startswith(said)
    assert printed.out == "" and "Traceback" not in printed.err


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)

    assert exit_status(lambda: raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 0
    assert stderr.closed


def test_a_fault_of_ours_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: raising(ZeroDivisionError()))
