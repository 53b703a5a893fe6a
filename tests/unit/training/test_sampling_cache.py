"""The sampling cache: what is kept is what was generated, survives damage, and is never generated twice."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compose.base import Base, stop_ids
from compose.engine import Row, Sampling, generate, prefix_cache
from compose.errors import Rejected
from compose.training import sampling_cache
from compose.training.sampling_cache import GenerationStore, cached_generate

SAMPLING = Sampling(max_new_tokens=5)
ROWS = [Row((10, 11, 12 + n % 3), 0, seed=n) for n in range(7)]


class Counting:
    """The engine's generate, counting the rows it is given; it can be made to stop after some."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.rows = 0
        self.finished = 0
        self.stop_after = stop_after

    def __call__(self, model: Any, cache: Any, rows: Any, sampling: Any, **options: Any) -> list[list[int]]:
        self.rows += len(rows)
        tell = options.pop("on_finished")

        def on_finished(index: int, ids: list[int]) -> None:
            tell(index, ids)
            self.finished += 1
            if self.finished == self.stop_after:
                raise KeyboardInterrupt

        return generate(model, cache, rows, sampling, on_finished=on_finished, **options)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(sampling_cache, "generate", counting)
    return counting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "samples"


def test_completions_are_those_of_the_engine_in_the_order_of_the_rows(tiny: Base, folder: Path) -> None:
    expected = generate(tiny.model, prefix_cache(tiny.model, [None]), ROWS, SAMPLING, eos_ids=stop_ids(tiny))
    drawn = cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder), batch_size=2)
    assert drawn == [tuple(ids) for ids in expected]


def test_a_second_run_generates_nothing(tiny: Base, folder: Path, engine: Counting) -> None:
    first = cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder))
    second = cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder))
    assert first == second
    assert engine.rows == len(ROWS)


def test_only_missing_rows_are_generated(tiny: Base, folder: Path, engine: Counting) -> None:
    cached_generate(tiny, [None], ROWS[:4], SAMPLING, GenerationStore(folder))
    cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder))
    assert engine.rows == len(ROWS)


def test_equal_rows_are_generated_once(tiny: Base, engine: Counting) -> None:
    drawn = cached_generate(tiny, [None], [ROWS[0], ROWS[1], ROWS[0]], SAMPLING, None)
    assert drawn[0] == drawn[2]
    assert engine.rows == 2


def test_greedy_rows_differ_by_nothing_but_their_prompt(tiny: Base, engine: Counting) -> None:
    greedy = Sampling(max_new_tokens=3, temperature=0.0)
    cached_generate(tiny, [None], [Row((10, 11), 0, seed) for seed in range(5)], greedy, None)
    assert engine.rows == 1


def test_an_interrupted_run_goes_on_behind_its_last_whole_batch(
    tiny: Base, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = Counting(stop_after=5)
    monkeypatch.setattr(sampling_cache, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder), batch_size=2)
    assert len(GenerationStore(folder)) == 4
    resumed = Counting()
    monkeypatch.setattr(sampling_cache, "generate", resumed)
    drawn = cached_generate(tiny, [None], ROWS, SAMPLING, GenerationStore(folder), batch_size=2)
    assert resumed.rows == 3
    assert drawn == cached_generate(tiny, [None], ROWS, SAMPLING, None)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": Sampling(max_new_tokens=6)},
        {"sampling": Sampling(max_new_tokens=5, temperature=0.7)},
        {"sampling": Sampling(max_new_tokens=5, top_p=0.5)},
        {"prefixes": [torch.ones(2, 64)]},
        {"rows": [Row((10, 11, 12), 0, seed=99)]},
        {"rows": [Row((10, 11, 13), 0, seed=0)]},
        {"fingerprint": "sha256:" + "0" * 64},
    ],
)
def test_whatever_changes_a_completion_changes_its_key(
    tiny: Base, folder: Path, engine: Counting, change: dict[str, Any]
) -> None:
    store = GenerationStore(folder)
    cached_generate(tiny, [None], ROWS[:1], SAMPLING, store)
    base = tiny
    if "fingerprint" in change:
        base = Base(tiny.name, tiny.model, tiny.tokenizer, change["fingerprint"], tiny.folder)
    cached_generate(
        base,
        change.get("prefixes", [None]),
        change.get("rows", ROWS[:1]),
        change.get("sampling", SAMPLING),
        store,
    )
    assert engine.rows == 2


def test_a_patch_is_known_by_its_values_and_not_by_its_place(tiny: Base, folder: Path, engine: Counting) -> None:
    store = GenerationStore(folder)
    patch = torch.full((2, 64), 0.1)
    first = cached_generate(tiny, [None, patch], [Row((10, 11), 1, 3)], SAMPLING, store)
    again = cached_generate(tiny, [patch.clone()], [Row((10, 11), 0, 3)], SAMPLING, store)
    assert first == again
    assert engine.rows == 1


def test_a_torn_last_line_is_counted_and_costs_that_line_alone(folder: Path) -> None:
    GenerationStore(folder).put({"a": [1, 2], "b": [3]})
    (shard,) = folder.glob("*.jsonl")
    shard.write_bytes(shard.read_bytes()[:-4])
    store = GenerationStore(folder)
    assert (store.get("a"), store.get("b")) == ([1, 2], None)
    assert store.damaged == 1


def test_a_value_behind_a_torn_line_is_not_lost(folder: Path) -> None:
    store = GenerationStore(folder)
    store.put({"a": [1]})
    (shard,) = folder.glob("*.jsonl")
    with shard.open("ab") as file:
        file.write(b'["torn", [4, 5')
    store.put({"b": [2]})
    read = GenerationStore(folder)
    assert (read.get("a"), read.get("b"), read.damaged) == ([1], [2], 1)


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b"null", b'["a",[9],1]', b"[1,[9],2]", b"\xff\xfe", b'["a"]', b"[[[[", b"7"]
)
def test_damaged_lines_are_not_believed(folder: Path, line: bytes) -> None:
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(line + b"\n")
    store = GenerationStore(folder)
    assert store.get("a") is None
    assert store.damaged == 1


def test_a_changed_token_does_not_match_its_checksum(folder: Path) -> None:
    GenerationStore(folder).put({"a": [1, 2]})
    (shard,) = folder.glob("*.jsonl")
    key, value, checksum = json.loads(shard.read_bytes())
    shard.write_text(json.dumps([key, [*value[:-1], 7], checksum]))
    assert GenerationStore(folder).get("a") is None


def test_two_stores_write_files_of_their_own_into_one_folder(folder: Path) -> None:
    one, other = GenerationStore(folder), GenerationStore(folder)
    one.put({"a": [1]})
    other.put({"b": [2]})
    assert len(list(folder.glob("*.jsonl"))) == 2
    read = GenerationStore(folder)
    assert (read.get("a"), read.get("b")) == ([1], [2])


def test_a_stored_value_that_is_no_completion_is_generated_again(tiny: Base, folder: Path, engine: Counting) -> None:
    store = GenerationStore(folder)
    cached_generate(tiny, [None], ROWS[:1], SAMPLING, store)
    (shard,) = folder.glob("*.jsonl")
    key = json.loads(shard.read_bytes())[0]
    store.put({key: {"text": "an answer of a server"}})
    cached_generate(tiny, [None], ROWS[:1], SAMPLING, GenerationStore(folder))
    assert engine.rows == 2


def test_a_full_disk_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = GenerationStore(folder)
    store.put({"a": [1]})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("compose.training.sampling_cache.os.fsync", full)
    with pytest.raises(Rejected, match="disk-full"):
        store.put({"b": [2]})
    assert store.get("b") is None


def test_nothing_is_written_for_nothing(folder: Path) -> None:
    GenerationStore(folder).put({})
    assert not folder.exists()
