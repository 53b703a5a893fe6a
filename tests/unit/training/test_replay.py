"""Replay: what the buffer keeps, and how kept rows are woven into batches."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.errors import Rejected
from compose.training.replay import MIX_MODES, POLICIES, Policy, ReplayBuffer, fair_shares, mix

RISKS = ("toxicity", "bias", "harm")


def rows(risk: str, count: int) -> list[tuple[str, int]]:
    return [(risk, number) for number in range(count)]


def filled(policy: Policy, capacity: int, counts: dict[str, int], seed: int = 0) -> ReplayBuffer[tuple[str, int]]:
    buffer: ReplayBuffer[tuple[str, int]] = ReplayBuffer(capacity, policy, seed)
    for risk, count in counts.items():
        buffer.add(risk, rows(risk, count))
    return buffer


adds = st.lists(st.tuples(st.sampled_from(RISKS), st.integers(0, 30)), max_size=6)


@settings(deadline=None)
@given(st.sampled_from(POLICIES), st.integers(1, 40), adds, st.integers(0, 5))
def test_the_buffer_never_holds_more_than_its_capacity_nor_a_row_twice(
    policy: Policy, capacity: int, history: list[tuple[str, int]], seed: int
) -> None:
    buffer: ReplayBuffer[tuple[str, int]] = ReplayBuffer(capacity, policy, seed)
    offered = 0
    for risk, count in history:
        buffer.add(risk, [(risk, offered + n) for n in range(count)])
        offered += count
        assert len(buffer) == min(capacity, offered)
    assert len(set(buffer.items())) == len(buffer.items()) == len(buffer)
    assert all(row[0] == risk for risk, held in buffer.by_risk().items() for row in held)


@settings(deadline=None)
@given(st.integers(3, 40), st.lists(st.integers(40, 60), min_size=1, max_size=3), st.integers(0, 5))
def test_a_balanced_buffer_holds_risks_within_one_row_of_each_other(
    capacity: int, counts: list[int], seed: int
) -> None:
    buffer = filled("balanced", capacity, dict(zip(RISKS, counts, strict=False)), seed)
    held = [len(kept) for kept in buffer.by_risk().values()]
    assert sum(held) == capacity
    assert max(held) - min(held) <= 1
    assert held == sorted(held, reverse=True)  # odd rows belong to the earlier risks


def test_a_small_risk_leaves_its_room_to_the_others() -> None:
    held = filled("balanced", 20, {"toxicity": 100, "bias": 3, "harm": 100}).by_risk()
    # 20 rows over three: 7, 7, 6 wanted; bias has 3, so the other two share 17 as 9 and 8.
    assert {risk: len(kept) for risk, kept in held.items()} == {"toxicity": 9, "bias": 3, "harm": 8}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 20), min_size=1), st.integers(1, 60))
def test_fair_shares_use_all_room_and_favour_nobody(available: dict[str, int], capacity: int) -> None:
    shares = fair_shares(available, capacity)
    assert sum(shares.values()) == min(capacity, sum(available.values()))
    assert all(0 <= shares[risk] <= count for risk, count in available.items())
    short = [share for risk, share in shares.items() if share < available[risk]]
    # Whoever could use more has no less than anybody else, but for the odd row.
    assert all(max(shares.values()) - share <= 1 for share in short)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_row_of_the_stream_is_kept_equally_often(policy: Policy) -> None:
    # 1000 seeds, 5 of 20 rows kept: each is kept with probability 1/4, so 250 times, sd sqrt(1000 * 3/16) = 13.7.
    kept: Counter[tuple[str, int]] = Counter()
    for seed in range(1000):
        buffer: ReplayBuffer[tuple[str, int]] = ReplayBuffer(5, policy, seed)
        buffer.add("toxicity", rows("toxicity", 8))
        buffer.add("toxicity", [("toxicity", 8 + n) for n in range(12)])
        kept.update(buffer.items())
    assert set(kept) == set(rows("toxicity", 20))
    assert all(abs(count - 250) < 4.5 * 13.7 for count in kept.values())


def test_a_reservoir_keeps_risks_in_proportion_to_what_they_brought() -> None:
    # 75 and 25 rows, 20 kept, 300 seeds: 15 of the first on average, sd of the mean below 2 / sqrt(300) = 0.12.
    held = [len(filled("reservoir", 20, {"bias": 75, "harm": 25}, s).by_risk()["bias"]) for s in range(300)]
    assert abs(sum(held) / len(held) - 15) < 0.5


def test_shrinking_to_make_room_leaves_a_uniform_sample_of_the_earlier_risk() -> None:
    # 10 rows, first cut to 8, then to 4 by a second risk: kept with probability 4/10; 1000 seeds, sd 15.5.
    kept: Counter[tuple[str, int]] = Counter()
    for seed in range(1000):
        kept.update(filled("balanced", 8, {"toxicity": 10, "bias": 10}, seed).by_risk()["toxicity"])
    assert all(abs(kept[row] - 400) < 4.5 * 15.5 for row in rows("toxicity", 10))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_and_history_give_the_same_buffer(policy: Policy) -> None:
    counts = {"toxicity": 30, "bias": 30}
    assert filled(policy, 9, counts, 7).items() == filled(policy, 9, counts, 7).items()
    assert filled(policy, 9, counts, 7).items() != filled(policy, 9, counts, 8).items()


@settings(deadline=None)
@given(
    ratio=st.floats(0, 0.9),
    batch_size=st.integers(2, 16),
    batches=st.integers(1, 6),
    policy=st.sampled_from(POLICIES),
    seed=st.integers(0, 3),
)
def test_each_batch_has_exactly_its_share_of_replayed_rows(
    ratio: float, batch_size: int, batches: int, policy: Policy, seed: int
) -> None:
    replayed = round(ratio * batch_size)
    if replayed == batch_size:
        return
    buffer = filled(policy, 6, {"toxicity": 10, "bias": 10}, seed)
    stage = mix(
        rows("harm", 11),
        buffer,
        mode="replay",
        ratio=ratio,
        batch_size=batch_size,
        n_total=batches * batch_size,
        seed=seed,
    )
    assert len(stage) == batches * batch_size
    for start in range(0, len(stage), batch_size):
        batch = stage[start : start + batch_size]
        assert sum(risk != "harm" for risk, _ in batch) == replayed


def test_modes_differ_in_the_extra_rows_only() -> None:
    current, buffer = rows("harm", 40), filled("balanced", 8, {"toxicity": 20})
    stages = {mode: mix(current, buffer, mode=mode, ratio=0.5, batch_size=4, n_total=24, seed=3) for mode in MIX_MODES}
    replayed = [row[0] != "harm" for row in stages["replay"]]
    own = [row for row, extra in zip(stages["replay"], replayed, strict=True) if not extra]
    assert own == stages["none"] == [r for r, extra in zip(stages["pad"], replayed, strict=True) if not extra]
    padding = [row for row, extra in zip(stages["pad"], replayed, strict=True) if extra]
    # 40 rows are there and 24 are needed: what pads is fresh.
    assert len(padding) == 12 and not set(padding) & set(own)


def test_rows_are_used_once_before_any_is_used_twice() -> None:
    stage = mix(rows("harm", 5), None, mode="none", ratio=0.0, batch_size=4, n_total=12, seed=1)
    assert sorted(stage[:5]) == sorted(stage[5:10]) == rows("harm", 5)


def test_a_balanced_buffer_is_replayed_in_turn() -> None:
    buffer = filled("balanced", 6, {"toxicity": 20, "bias": 2})
    stage = mix(rows("harm", 9), buffer, mode="replay", ratio=0.5, batch_size=4, n_total=16, seed=0)
    assert [risk for risk, _ in stage if risk != "harm"] == ["toxicity", "bias"] * 4


def test_replayed_rows_are_spread_over_the_batch() -> None:
    buffer = filled("reservoir", 6, {"toxicity": 20})
    stage = mix(rows("harm", 9), buffer, mode="replay", ratio=0.5, batch_size=8, n_total=8, seed=0)
    assert [risk for risk, _ in stage] == ["harm", "toxicity"] * 4


def test_a_short_last_batch_has_its_own_share() -> None:
    buffer = filled("reservoir", 6, {"toxicity": 20})
    stage = mix(rows("harm", 9), buffer, mode="replay", ratio=0.25, batch_size=8, n_total=12, seed=0)
    # round(.25 * 8) = 2 in the first eight rows, round(.25 * 4) = 1 in the last four.
    assert sum(risk == "toxicity" for risk, _ in stage[:8]) == 2
    assert sum(risk == "toxicity" for risk, _ in stage[8:]) == 1


def test_replay_from_an_empty_buffer_is_refused() -> None:
    for buffer in (None, filled("balanced", 3, {"toxicity": 0})):
        with pytest.raises(Rejected, match="replay-empty"):
            mix(rows("harm", 3), buffer, mode="replay", ratio=0.5, batch_size=2, n_total=4, seed=0)


def test_a_ratio_of_zero_needs_no_buffer() -> None:
    stage = mix(rows("harm", 3), None, mode="replay", ratio=0.0, batch_size=2, n_total=4, seed=0)
    assert len(stage) == 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ratio": 1.0}, "settings-invalid"),
        ({"ratio": -0.1}, "settings-invalid"),
        ({"ratio": 0.9}, "settings-invalid"),  # round(.9 * 4) = 4: no row of the current risk is left
        ({"batch_size": 0}, "settings-invalid"),
        ({"n_total": 0}, "settings-invalid"),
        ({"mode": "repaly"}, "settings-invalid"),
        ({"current": []}, "pairs-empty"),
    ],
)
def test_impossible_mixtures_are_refused(change: dict[str, object], code: str) -> None:
    given_: dict[str, object] = {
        "current": rows("harm", 3),
        "buffer": None,
        "mode": "pad",
        "ratio": 0.5,
        "batch_size": 4,
        "n_total": 8,
        "seed": 0,
    }
    with pytest.raises(Rejected, match=code):
        mix(**(given_ | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(("capacity", "policy"), [(0, "reservoir"), (3, "ring")])
def test_impossible_buffers_are_refused(capacity: int, policy: Policy) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        ReplayBuffer(capacity, policy, 0)
