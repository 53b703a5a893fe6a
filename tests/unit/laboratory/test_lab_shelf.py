"""Finished stages on the disk: whole, found again, and made by one job at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compose.artifact import Patch
from compose.laboratory.shelf import PATCH, RECORD, SNAPSHOTS, Shelf, Trained

KEY = "ab" * 32


def trained(make_patch: Callable[..., Patch]) -> Trained:
    return Trained(
        patch=make_patch([[1.0, 2.0], [3.0, 4.0]]),
        snapshots={2: torch.tensor([[0.5, 1.0], [1.5, 2.0]])},
        log=[{"phase": "sft", "step": 1, "loss": 0.5}],
        steps=4,
        seconds=1.5,
        commit=("c0ffee", True),
    )


def test_what_was_put_is_got(tmp_path: Path, make_patch: Callable[..., Patch]) -> None:
    shelf, made = Shelf(tmp_path), trained(make_patch)
    shelf.put(KEY, made)
    found = shelf.get(KEY)
    assert found is not None
    assert found.patch.card == made.patch.card
    assert torch.equal(found.patch.prefix, made.patch.prefix)
    assert torch.equal(found.snapshots[2], made.snapshots[2])
    assert (found.log, found.steps, found.seconds, found.commit) == (made.log, 4, 1.5, ("c0ffee", True))


def test_a_stage_that_was_never_put_is_none(tmp_path: Path) -> None:
    assert Shelf(tmp_path).get(KEY) is None


@pytest.mark.parametrize("file", [RECORD, SNAPSHOTS, f"{PATCH}/adapter_model.safetensors", f"{PATCH}/patch.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_stage_is_said_to_be_and_can_be_put_again(
    file: str,
    damage: str,
    tmp_path: Path,
    make_patch: Callable[..., Patch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf, made = Shelf(tmp_path), trained(make_patch)
    shelf.put(KEY, made)
    path = tmp_path / KEY / file
    if damage == "gone" and file == f"{PATCH}/patch.json":
        path.write_bytes(b"{}")  # without its card a patch would load, as one of unknown making
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    assert shelf.get(KEY) is None
    assert "damaged" in capsys.readouterr().err
    shelf.put(KEY, made)
    assert shelf.get(KEY) is not None


def test_putting_a_stage_removes_what_its_training_left_for_resuming(
    tmp_path: Path, make_patch: Callable[..., Patch]
) -> None:
    shelf = Shelf(tmp_path)
    shelf.work(KEY).mkdir(parents=True)
    (shelf.work(KEY) / "checkpoint").write_text("half")
    shelf.put(KEY, trained(make_patch))
    assert not shelf.work(KEY).exists()


def test_a_second_job_waits_for_the_first_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf, events = Shelf(tmp_path), list[str]()
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with shelf.reserved(KEY):
            inside.set()
            leave.wait()
            events.append("first")

    def second() -> None:
        with shelf.reserved(KEY):
            events.append("second")

    holder, waiter = threading.Thread(target=first), threading.Thread(target=second)
    holder.start()
    inside.wait()
    waiter.start()
    while "waiting" not in capsys.readouterr().err:
        waiter.join(timeout=0.01)
    leave.set()
    holder.join()
    waiter.join()
    assert events == ["first", "second"]
