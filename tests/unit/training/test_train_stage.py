"""A stage trains its prefix, keeps what it must keep, and takes up where it was stopped."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor
from trl import DPOConfig, SFTConfig

from compose.base import Base
from compose.engine import Sampling, ScoreRow, completion_logprobs, prefix_cache
from compose.errors import Rejected
from compose.training.pairs import Pair
from compose.training.reference_scores import reference_logprobs, reference_scores
from compose.training.settings import TrainSettings
from compose.training.stage import train_stage
from compose.training.trainers import refuse_unsafe

SETTINGS = TrainSettings(sft_steps=3, dpo_steps=3, batch_size=4, checkpoint_every=1, snapshots=2)


def pair(number: int, rejected: tuple[int, ...] = (50, 51, 52)) -> Pair:
    return Pair(
        risk="toxicity",
        prompt_id=f"p{number}",
        prompt_ids=(20 + number, 21, 22),
        chosen_ids=(30, 31 + number),
        rejected_ids=rejected,
        prompt="prompt",
        chosen="chosen",
        rejected="rejected",
        chosen_score=0.0,
        rejected_score=1.0,
        judge="none",
        reference="none",
        sampling=Sampling(),
        reference_sampling=Sampling(),
        seed=0,
    )


PAIRS = [pair(n) for n in range(6)]


@pytest.fixture
def start(tiny: Base) -> Tensor:
    rows: Tensor = tiny.model.get_input_embeddings().weight[5:9].clone()
    return rows


def logprob_of_chosen(base: Base, prefix: Tensor) -> float:
    rows = [ScoreRow(p.prompt_ids, p.chosen_ids) for p in PAIRS]
    return sum(float(x.sum()) for x in completion_logprobs(base.model, prefix_cache(base.model, [prefix]), rows))


def test_training_makes_the_chosen_completions_likelier(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, sft_steps=12, dpo_steps=8, sft_lr=5e-2, dpo_lr=2e-2)
    result = train_stage(tiny, start, PAIRS, settings, seed=0, folder=tmp_path)
    assert logprob_of_chosen(tiny, result.prefix) > logprob_of_chosen(tiny, start) + 1.0
    assert [entry["phase"] for entry in result.log] == ["sft"] * 12 + ["dpo"] * 8


def test_frozen_segments_come_out_bit_for_bit(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    frozen = tiny.model.get_input_embeddings().weight[40:43].clone()
    result = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path, frozen=frozen)
    assert result.prefix.shape[0] == 7
    assert torch.equal(result.prefix[:3], frozen)
    assert not torch.equal(result.prefix[3:], start)


def test_snapshots_lie_evenly_over_both_phases(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    result = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path)
    assert sorted(result.snapshots) == [2, 4]  # thirds of 3 + 3 steps
    assert not torch.equal(result.snapshots[2], result.snapshots[4])


def test_an_interrupted_stage_resumes_to_the_same_prefix(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    whole = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "whole")

    def stop(phase: str, step: int) -> None:
        if (phase, step) == ("dpo", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "cut", on_step=stop)
    steps: list[tuple[str, int]] = []
    resumed = train_stage(
        tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "cut", on_step=lambda p, s: steps.append((p, s))
    )
    assert steps == [("dpo", 2), ("dpo", 3)]  # the last checkpoint was written after the first DPO step
    torch.testing.assert_close(resumed.prefix, whole.prefix, rtol=1e-5, atol=1e-7)
    again = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "cut", on_step=stop)
    assert torch.equal(again.prefix, resumed.prefix)


def test_a_checkpoint_that_was_cut_short_is_passed_over(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    whole = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "whole")
    cut = tmp_path / "cut"

    def stop(phase: str, step: int) -> None:
        if (phase, step) == ("dpo", 2):
            torn = cut / "dpo_checkpoints" / "checkpoint-2"
            torn.mkdir(parents=True)
            (torn / "adapter_model.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=cut, on_step=stop)
    resumed = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=cut)
    torch.testing.assert_close(resumed.prefix, whole.prefix, rtol=1e-5, atol=1e-7)


def interrupted(base: Base, start: Tensor, folder: Path) -> None:
    """Leave a stage as Ctrl-C after its second DPO step leaves it."""

    def stop(phase: str, step: int) -> None:
        if (phase, step) == ("dpo", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(base, start, PAIRS, SETTINGS, seed=0, folder=folder, on_step=stop)


@pytest.mark.parametrize(
    "name",
    [
        "stage.json",
        "sft_log.json",
        "sft.safetensors",
        "snapshot-00002.safetensors",
        "references/*.json",
        "dpo_checkpoints/checkpoint-1/trainer_state.json",
    ],
)
def test_a_damaged_file_costs_time_and_nothing_else(tiny: Base, start: Tensor, tmp_path: Path, name: str) -> None:
    whole = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "whole")
    interrupted(tiny, start, tmp_path / "cut")
    (damaged,) = (tmp_path / "cut").glob(name)
    damaged.write_bytes(damaged.read_bytes()[:9])
    resumed = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "cut")
    torch.testing.assert_close(resumed.prefix, whole.prefix, rtol=1e-5, atol=1e-7)
    assert sorted(resumed.snapshots) == sorted(whole.snapshots)


def test_files_of_others_in_a_stages_folder_stay(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    notes = tmp_path / "notes.json"
    notes.write_text("{ // no JSON")
    interrupted(tiny, start, tmp_path)
    (tmp_path / "sft_log.json").write_text("{")
    train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path)
    assert notes.read_text() == "{ // no JSON"


def test_an_interrupted_stage_goes_on_under_another_checkpoint_interval(
    tiny: Base, start: Tensor, tmp_path: Path
) -> None:
    interrupted(tiny, start, tmp_path)
    steps: list[tuple[str, int]] = []
    train_stage(
        tiny,
        start,
        PAIRS,
        dataclasses.replace(SETTINGS, checkpoint_every=2),
        seed=0,
        folder=tmp_path,
        on_step=lambda phase, step: steps.append((phase, step)),
    )
    assert steps[0][0] == "dpo"


def test_what_one_stage_scored_under_its_reference_no_other_scores_again(
    tiny: Base, start: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reference_scores(tiny, None, PAIRS, tmp_path)
    assert first == reference_logprobs(tiny, None, PAIRS)
    monkeypatch.setattr("compose.training.reference_scores.tree_logits", None)  # scoring anew would call it
    assert reference_scores(tiny, None, [PAIRS[2], PAIRS[0]], tmp_path) == [first[2], first[0]]
    with pytest.raises(TypeError):
        reference_scores(tiny, start, PAIRS, tmp_path)


def test_a_folder_of_another_stage_is_refused(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path)
    with pytest.raises(Rejected, match="already-exists"):
        train_stage(tiny, start * 2, PAIRS, SETTINGS, seed=0, folder=tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "no room"),
        OSError(errno.EDQUOT, "no room"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:668] . PytorchStreamWriter failed writing file data/0"),
    ],
    ids=["disk full", "quota", "safetensors", "torch.save"],
)
def test_a_full_disk_while_training_is_said_in_plain_words(
    tiny: Base, start: Tensor, tmp_path: Path, error: Exception
) -> None:
    def fill(phase: str, step: int) -> None:
        raise error

    with pytest.raises(Rejected, match="disk-full"):
        train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path, on_step=fill)


def test_mixed_precision_trains_to_nearly_the_same_losses(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    full = train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path / "full")
    mixed = dataclasses.replace(SETTINGS, precision="bfloat16")
    half = train_stage(tiny, start, PAIRS, mixed, seed=0, folder=tmp_path / "half")
    found = [entry["loss"] for entry in half.log]
    assert found == pytest.approx([entry["loss"] for entry in full.log], rel=0.05)


def test_the_base_is_left_as_it_was(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    train_stage(tiny, start, PAIRS, SETTINGS, seed=0, folder=tmp_path)
    assert "forward" not in tiny.model.__dict__
    assert not any(p.requires_grad for p in tiny.model.parameters())


def test_dpo_starts_from_log_two_when_its_reference_is_the_patch_itself(
    tiny: Base, start: Tensor, tmp_path: Path
) -> None:
    # -log sigmoid(beta * 0) = log 2 for every pair, whatever beta is.
    settings = TrainSettings(phases="dpo", dpo_steps=1, batch_size=6, dpo_reference="previous")
    result = train_stage(tiny, start, PAIRS, settings, seed=0, folder=tmp_path)
    assert result.log[0]["loss"] == pytest.approx(0.6931, abs=1e-4)


def test_dpo_loss_is_the_formula_on_separately_computed_log_probabilities(
    tiny: Base, start: Tensor, tmp_path: Path
) -> None:
    settings = TrainSettings(phases="dpo", dpo_steps=1, batch_size=6, dpo_reference="base", beta=0.3)
    result = train_stage(tiny, start, PAIRS, settings, seed=0, folder=tmp_path)
    losses = []
    for (pc, pr), (bc, br) in zip(
        reference_logprobs(tiny, start, PAIRS), reference_logprobs(tiny, None, PAIRS), strict=True
    ):
        margin = torch.tensor(0.3 * ((pc - bc) - (pr - br)))
        losses.append(float(-torch.nn.functional.logsigmoid(margin)))
    assert result.log[0]["loss"] == pytest.approx(sum(losses) / 6, abs=1e-4)


def test_pairs_without_a_rejected_completion_serve_sft_only(tiny: Base, start: Tensor, tmp_path: Path) -> None:
    anchors = [pair(n, rejected=()) for n in range(4)]
    train_stage(tiny, start, anchors, dataclasses.replace(SETTINGS, phases="sft"), seed=0, folder=tmp_path / "sft")
    with pytest.raises(Rejected, match="pairs-empty"):
        train_stage(tiny, start, anchors, dataclasses.replace(SETTINGS, phases="dpo"), seed=0, folder=tmp_path / "d")


@pytest.mark.parametrize("option", ["packing", "padding_free"])
def test_rows_of_several_documents_are_refused(option: str, tmp_path: Path) -> None:
    config = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **{option: True})
    with pytest.raises(Rejected, match=rf"training-unsafe.*{option}"):
        refuse_unsafe(config)


def test_weight_decay_is_refused_because_it_moves_frozen_rows(tmp_path: Path) -> None:
    config = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, weight_decay=0.1)
    with pytest.raises(Rejected, match="training-unsafe"):
        refuse_unsafe(config)


def test_a_dpo_reference_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="dpo_reference=sft needs an SFT phase"):
        TrainSettings(phases="dpo", dpo_reference="sft")
