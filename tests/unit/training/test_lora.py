"""LoRA is trained as a patch is, leaves the base alone, and comes out as a base that can be measured like one."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType
from torch import Tensor

from compose.base import Base
from compose.engine import Row, Sampling, ScoreRow, completion_logprobs, generate, prefix_cache
from compose.engine.plain import plain_logits
from compose.errors import Rejected
from compose.training.anchors import Anchor
from compose.training.lora import LoraSettings, train_lora
from compose.training.model import LoraScoringModel
from compose.training.pairs import Pair
from compose.training.settings import TrainSettings

SETTINGS = TrainSettings(sft_steps=3, dpo_steps=3, batch_size=4)
FAST = LoraSettings(sft_lr=2e-2, dpo_lr=2e-2)
LINEAR_INPUTS_AND_OUTPUTS = 2 * (128 + 96 + 96 + 128 + 192 + 192 + 192)
"""Of the tiny base: two layers of q, k, v, o, gate, up and down; hidden 64, two key-value heads of 16, inner 128."""


def pair(number: int) -> Pair:
    return Pair(
        risk="toxicity", prompt_id=f"p{number}", prompt_ids=(20 + number, 21, 22), chosen_ids=(30, 31 + number),
        rejected_ids=(50, 51, 52), prompt="", chosen="", rejected="", chosen_score=0.0, rejected_score=1.0,
        judge="none", reference="none", sampling=Sampling(), reference_sampling=Sampling(), seed=0,
    )  # fmt: skip


PAIRS = [pair(n) for n in range(6)]


def logprobs(base: Base, which: str = "chosen_ids") -> float:
    rows = [ScoreRow(p.prompt_ids, getattr(p, which)) for p in PAIRS]
    return sum(float(x.sum()) for x in completion_logprobs(base.model, prefix_cache(base.model, [None]), rows))


def train(base: Base, out: Path, rank: int = 2, seed: int = 0, **more: Any) -> Any:
    return train_lora(base, PAIRS, more.pop("settings", SETTINGS), rank=rank, seed=seed, out=out, **more)


def texts(base: Base, seeds: Sequence[int]) -> list[list[int]]:
    rows = [Row((20, 21, 22), 0, seed) for seed in seeds]
    return generate(base.model, prefix_cache(base.model, [None]), rows, Sampling(max_new_tokens=8), eos_ids=())


def test_the_chosen_completions_become_likelier_and_the_rejected_fall_behind(tiny: Base, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, sft_steps=12, dpo_steps=8)
    result = train(tiny, tmp_path / "lora", settings=settings, lora=FAST)
    gained = logprobs(result.base) - logprobs(tiny)

    assert gained > 1.0
    assert gained > logprobs(result.base, "rejected_ids") - logprobs(tiny, "rejected_ids") + 1.0
    assert [entry["phase"] for entry in result.facts.log] == ["sft"] * 12 + ["dpo"] * 8


def test_the_base_is_left_as_it_was(tiny: Base, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    result = train(tiny, tmp_path / "lora", lora=FAST)

    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
    assert set(tiny.model.state_dict()) == set(before)
    assert not any(parameter.requires_grad for parameter in tiny.model.parameters())
    assert "forward" not in vars(tiny.model)
    assert result.base.model is not tiny.model
    assert result.base.fingerprint != tiny.fingerprint
    assert set(result.base.model.state_dict()) == set(before)  # merged: no layer of PEFT is left


def test_what_is_merged_is_what_peft_computes_from_the_folder(tiny: Base, tmp_path: Path) -> None:
    result = train(tiny, tmp_path / "lora", lora=FAST)
    peft = PeftModel.from_pretrained(copy.deepcopy(tiny.model), str(tmp_path / "lora")).eval()
    ids = torch.tensor([[20, 21, 22, 30, 31]])
    with torch.no_grad():
        theirs, ours, bare = (model(input_ids=ids).logits for model in (peft, result.base.model, tiny.model))

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert float((ours - bare).abs().max()) > 1e-2


@pytest.mark.parametrize("rank", [1, 16])
def test_the_facts_are_those_of_the_folder(tiny: Base, tmp_path: Path, rank: int) -> None:
    facts = train(tiny, tmp_path / "lora", rank=rank).facts
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_bytes())

    assert facts.parameters == rank * LINEAR_INPUTS_AND_OUTPUTS
    assert 4 * facts.parameters < (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "lora").iterdir()}
    assert facts.artifact_bytes == sizes["adapter_model.safetensors"] + sizes["adapter_config.json"]
    assert set(sizes) == {"adapter_model.safetensors", "adapter_config.json", "lora.json"}
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (rank, 2 * rank, "tiny")
    assert (facts.rank, facts.steps) == (rank, 6)
    assert facts.seconds > 0


def test_the_losses_and_gradients_are_those_of_the_plain_model(tiny: Base) -> None:
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=2, lora_alpha=4, target_modules="all-linear")
    torch.manual_seed(0)
    model = LoraScoringModel(copy.deepcopy(tiny.model), config, tiny.model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.05 * torch.randn_like(parameter))
    ids = torch.tensor([[20, 21, 22, 30, 31], [23, 21, 22, 40, 41]])
    labels = ids.clone()
    labels[:, :3] = -100

    scored = model(input_ids=ids, labels=labels, attention_mask=torch.ones_like(ids), fused_lm_head=True).log_probs
    ours = torch.autograd.grad(scored.sum(), trained)
    plain = [plain_logits(model.get_base_model(), None, tuple(row)).log_softmax(-1) for row in ids.tolist()]
    expected = torch.stack([logits[torch.arange(2, 4), row[3:]] for logits, row in zip(plain, ids, strict=True)])
    theirs = torch.autograd.grad(expected.sum(), trained)

    torch.testing.assert_close(scored[:, 2:], expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_without_effect_it_writes_what_the_base_writes(tiny: Base, tmp_path: Path) -> None:
    still = train(tiny, tmp_path / "still", lora=LoraSettings(sft_lr=1e-12, dpo_lr=1e-12))
    moved = train(tiny, tmp_path / "moved", lora=FAST)

    assert texts(still.base, range(6)) == texts(tiny, range(6))
    assert texts(moved.base, range(6)) != texts(tiny, range(6))


def test_the_same_training_gives_the_same_adapter_and_another_seed_another(tiny: Base, tmp_path: Path) -> None:
    digests = [train(tiny, tmp_path / str(n), seed=seed).facts.digest for n, seed in enumerate((0, 0, 1))]

    assert digests[0] == digests[1] != digests[2]


def test_a_finished_adapter_is_read_and_not_trained_again(tiny: Base, tmp_path: Path) -> None:
    first = train(tiny, tmp_path / "lora")
    steps: list[int] = []
    again = train(tiny, tmp_path / "lora", on_step=lambda _, step: steps.append(step))

    assert steps == []
    assert again.facts == first.facts
    assert again.base.fingerprint == first.base.fingerprint
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.base.model.parameters(), first.base.model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"rank": 3},
        {"seed": 1},
        {"lora": FAST},
        {"settings": dataclasses.replace(SETTINGS, beta=0.2)},
        {"anchors": [Anchor((20,), (21, 22))]},
    ],
)
def test_another_trainings_adapter_is_neither_used_nor_overwritten(
    tiny: Base, tmp_path: Path, changed: dict[str, Any]
) -> None:
    first = train(tiny, tmp_path / "lora")
    with pytest.raises(Rejected, match="already-exists"):
        train(tiny, tmp_path / "lora", **changed)
    assert train(tiny, tmp_path / "lora").facts == first.facts


@pytest.mark.parametrize("name", ["mine.txt", "adapter_config.json"])
def test_a_folder_of_others_is_not_overwritten(tiny: Base, tmp_path: Path, name: str) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(Rejected, match="already-exists"):
        train(tiny, tmp_path / "notes")
    assert (tmp_path / "notes" / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "lora.json"])
def test_a_damaged_adapter_is_trained_again(
    tiny: Base, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(tiny, tmp_path / "lora")
    path = tmp_path / "lora" / name
    path.write_bytes(path.read_bytes()[:-20])
    again = train(tiny, tmp_path / "lora")

    assert "is damaged" in capsys.readouterr().err
    assert again.facts.digest == first.facts.digest


def test_an_interrupted_training_leaves_nothing(tiny: Base, tmp_path: Path) -> None:
    def stop(phase: str, step: int) -> None:
        if (phase, step) == ("dpo", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, tmp_path / "lora", on_step=stop)
    assert not (tmp_path / "lora").exists()
    steps: list[tuple[str, int]] = []
    train(tiny, tmp_path / "lora", on_step=lambda phase, step: steps.append((phase, step)))
    assert steps == [("sft", 1), ("sft", 2), ("sft", 3), ("dpo", 1), ("dpo", 2), ("dpo", 3)]


@pytest.mark.parametrize(("reference", "zero"), [("sft", True), ("base", False), ("previous", False)])
def test_dpo_starts_level_with_its_reference_where_that_is_the_model_after_sft(
    tiny: Base, tmp_path: Path, reference: Any, zero: bool
) -> None:
    settings = dataclasses.replace(SETTINGS, dpo_reference=reference)
    log = train(tiny, tmp_path / "lora", settings=settings, lora=FAST).facts.log
    first = next(entry for entry in log if entry["phase"] == "dpo")

    assert (abs(first["rewards/margins"]) < 1e-5) == zero


def test_anchors_hold_it_near_the_base(tiny: Base, tmp_path: Path) -> None:
    anchors = [Anchor((60, 61), (62, 63, 64)), Anchor((70,), (71, 72))]
    settings = dataclasses.replace(SETTINGS, anchor_weight=5.0, sft_steps=8)
    free = dataclasses.replace(settings, anchor_weight=0.0)
    held = train(tiny, tmp_path / "held", settings=settings, lora=FAST, anchors=anchors)
    loose = train(tiny, tmp_path / "loose", settings=free, lora=FAST, anchors=anchors)

    def moved(base: Base) -> float:
        logits: list[Tensor] = []
        for one in (tiny, base):
            ids = (*anchors[0].prompt_ids, *anchors[0].text_ids)
            logits.append(plain_logits(one.model, None, ids).log_softmax(-1))
        return float((logits[0] - logits[1]).abs().mean())

    assert held.facts.log[0]["anchor_kl"] == pytest.approx(0.0, abs=1e-6)  # LoRA starts as the base
    assert moved(held.base) < 0.7 * moved(loose.base)


def test_a_training_that_diverges_is_refused_and_leaves_nothing(tiny: Base, tmp_path: Path) -> None:
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        broken.model.layers[0].self_attn.q_proj.weight.fill_(float("nan"))
    with pytest.raises(Rejected, match="training-diverged"):
        train(dataclasses.replace(tiny, model=broken), tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_what_cannot_be_trained_is_refused(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="rank"):
        train(tiny, tmp_path / "lora", rank=0)
    with pytest.raises(Rejected, match="pairs-empty"):
        train_lora(tiny, [], SETTINGS, rank=1, seed=0, out=tmp_path / "lora")
    quantised = copy.deepcopy(tiny.model)
    quantised.is_quantized = True
    with pytest.raises(Rejected, match="quantised"):
        train(dataclasses.replace(tiny, model=quantised), tmp_path / "lora")
    assert not (tmp_path / "lora").exists()
