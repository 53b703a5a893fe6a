"""What a release and a history of releases may say."""

from __future__ import annotations

import pytest

from compose.errors import Rejected
from compose.trust.claims import canonical
from compose.trust.release import Event, History, Release, log_bytes, read_history, read_release, released_files
from tests.unit.trust.shop import bundle

FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64
DIGESTS = {"1.0.0": FIRST, "1.1.0": SECOND, "2.0.0": "sha256:" + "3" * 64}


def event(serial: int, action: str, version: str, reason: str = "because", **changes: object) -> Event:
    fields = {
        "serial": serial,
        "action": action,
        "version": version,
        "release": DIGESTS[version],
        "at": f"2026-06-01T00:00:{serial:02d}Z",
        "by": "a" * 64,
        "reason": reason,
        **changes,
    }
    return Event.model_validate(fields)


def history(*done: tuple[str, str]) -> History:
    """Return the history of (action, version) pairs."""
    events = tuple(event(serial, action, version) for serial, (action, version) in enumerate(done, start=1))
    return History(name="calm", events=events)


def test_the_last_release_or_rollback_is_current() -> None:
    assert History(name="calm").current is None
    done = history(("release", "1.0.0"), ("release", "1.1.0"), ("rollback", "1.0.0"))
    assert done.current is not None
    assert (done.current.version, done.current.serial) == ("1.0.0", 3)
    assert dict(done.released) == {"1.0.0": FIRST, "1.1.0": SECOND}


def test_the_yank_of_the_current_version_leaves_none_until_somebody_decides() -> None:
    yanked = history(("release", "1.0.0"), ("release", "1.1.0"), ("yank", "1.1.0"))
    assert yanked.current is None
    assert list(yanked.yanked) == ["1.1.0"]

    decided = yanked.with_event(event(4, "rollback", "1.0.0"))
    assert decided.current is not None and decided.current.version == "1.0.0"


def test_the_yank_of_another_version_changes_nothing_else() -> None:
    done = history(("release", "1.0.0"), ("release", "1.1.0"), ("yank", "1.0.0"))

    assert done.current is not None and done.current.version == "1.1.0"


@pytest.mark.parametrize(
    ("next_", "found"),
    [
        (event(3, "release", "1.0.0"), "must be above"),
        (event(3, "release", "1.1.0"), "must be above"),
        (event(3, "rollback", "1.1.0"), "is current"),
        (event(3, "rollback", "2.0.0"), "no such release"),
        (event(3, "rollback", "1.0.0", release=SECOND), "no such release"),
        (event(3, "rollback", "1.0.0", reason=" "), "reason"),
        (event(3, "yank", "1.0.0", reason=""), "reason"),
        (event(3, "yank", "2.0.0"), "no such release"),
        (event(3, "release", "2.0.0", at="2026-06-01T00:00:01Z"), "the one before"),
    ],
)
def test_an_event_that_cannot_follow_is_refused(next_: Event, found: str) -> None:
    before = history(("release", "1.0.0"), ("release", "1.1.0"))

    with pytest.raises(Rejected) as refused:
        before.with_event(next_)
    assert refused.value.code == "release-order"
    assert found in refused.value.got
    # Nor can it be read from a channel.
    forged = before.model_copy(update={"events": (*before.events, next_)})
    with pytest.raises(Rejected) as unread:
        read_history(log_bytes(forged), name="calm", subject="x")
    assert unread.value.code == "release-invalid"


def test_a_yanked_version_does_not_come_back() -> None:
    before = history(("release", "1.0.0"), ("release", "1.1.0"), ("yank", "1.0.0"))
    for action in ("rollback", "yank"):
        with pytest.raises(Rejected, match=r"1\.0\.0 was yanked: because"):
            before.with_event(event(4, action, "1.0.0"))


def test_a_history_with_a_gap_or_of_another_name_is_refused() -> None:
    done = history(("release", "1.0.0"), ("release", "1.1.0"))
    gap = done.model_copy(update={"events": done.events[1:]})
    for data, name in ((log_bytes(gap), "calm"), (log_bytes(done), "other"), (b"{}", "calm")):
        with pytest.raises(Rejected) as refused:
            read_history(data, name=name, subject="x")
        assert refused.value.code == "release-invalid"
    assert read_history(log_bytes(done), name="calm", subject="x") == done


def release(**changes: object) -> bytes:
    given = bundle("1.0.0")
    fields = {
        "name": given.name,
        "version": given.version,
        "base": given.base,
        "lock": given.lock,
        "patches": given.patches,
        "files": released_files(given.files),
        "released": "2026-06-01T00:00:00Z",
    }
    return canonical(Release.model_construct(**{**Release.model_validate(fields).__dict__, **changes}))


def code_of_release(data: bytes) -> str:
    with pytest.raises(Rejected) as refused:
        read_release(data, subject="x")
    return refused.value.code


def test_nothing_is_released_without_lock_verdict_evidence_and_patches() -> None:
    whole = read_release(release(), subject="x")
    assert len(whole.files) == 4

    for left_out in whole.files:
        rest = tuple(file for file in whole.files if file is not left_out)
        extra = left_out.model_copy(update={"path": "notes.txt"})
        assert code_of_release(release(files=rest)) == "release-invalid"
        assert code_of_release(release(files=tuple(sorted((*rest, extra), key=lambda f: f.path)))) == "release-invalid"
    assert code_of_release(release(files=whole.files[::-1])) == "release-invalid"
    assert code_of_release(release(files=(*whole.files, whole.files[-1]))) == "release-invalid"


@pytest.mark.parametrize(
    "path", ["../x", "/x", "x/../../y", "x//y", ".hidden", "x\\y", "x\0", "X", "x\n", "", "a/b/c/d/e", "~/x", "x/."]
)
def test_a_file_of_a_release_stays_in_its_folder(path: str) -> None:
    files = read_release(release(), subject="x").files
    bad = files[0].model_copy(update={"path": path})

    assert code_of_release(release(files=tuple(sorted((*files, bad), key=lambda f: f.path)))) == "release-invalid"
