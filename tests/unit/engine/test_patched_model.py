"""A patched model proves itself when it is made, and refuses to generate where the patch would be lost."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peft import PeftModelForCausalLM, PromptTuningConfig
from transformers import GenerationConfig, PreTrainedModel

from compose.artifact import Patch, new_patch
from compose.base import Base, load_base
from compose.engine import PatchedModel, Sampling
from compose.engine.plain import plain_logits
from compose.engine.self_test import PROBE, record_self_test, run_self_test
from compose.errors import Rejected
from compose.parse import revise
from compose.records import BaseRef, CardDraft

PROMPTS = ["the city library", "a"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_base("tiny", device="cpu")


@pytest.fixture(scope="module")
def patch(base: Base) -> Patch:
    weight = base.model.get_input_embeddings().weight
    prefix = weight[30:36] * 3
    test = record_self_test(base.model, prefix, base.tokenizer.encode(PROBE))
    draft = CardDraft(
        name="tox",
        risks=("toxicity",),
        base=BaseRef(name=base.name, fingerprint=base.fingerprint),
        strategy="specialist",
        self_test=test,
    )
    return new_patch(prefix, draft)


def peft_generate(base: Base, patch: Patch, text: str, **options: object) -> str:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=patch.prefix.shape[0])
    model = PeftModelForCausalLM(base.model, config)
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(patch.prefix)
    ids = torch.tensor([base.tokenizer.encode(text)])
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    decoded: str = base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return decoded


def test_greedy_text_is_pefts(base: Base, patch: Patch) -> None:
    model = PatchedModel(base, patch)
    found = model.generate(PROMPTS, Sampling(max_new_tokens=12, temperature=0))
    assert found == [peft_generate(base, patch, text, max_new_tokens=12, do_sample=False) for text in PROMPTS]


@pytest.mark.parametrize(
    "options", [{"num_beams": 3}, {"cache_implementation": "static"}, {"min_new_tokens": 8}], ids=str
)
def test_transformers_options_give_what_an_unpadded_peft_row_gives(
    base: Base, patch: Patch, options: dict[str, Any]
) -> None:
    model = PatchedModel(base, patch)
    found = model.generate(PROMPTS[0], max_new_tokens=8, do_sample=False, **options)
    # PEFT crashes on static caches; a dynamic one must give the same tokens.
    peft_options = {k: v for k, v in options.items() if k != "cache_implementation"}
    assert found == [peft_generate(base, patch, PROMPTS[0], max_new_tokens=8, do_sample=False, **peft_options)]


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_sliding_windows_shorter_than_the_prefix_change_nothing_in_transformers_loop(
    base: Base, make_model: Callable[[str], PreTrainedModel], prefix: torch.Tensor, options: dict[str, Any]
) -> None:
    model = make_model("gemma3")
    gemma = dataclasses.replace(base, model=model)
    card = CardDraft(
        name="g",
        risks=(),
        base=BaseRef(fingerprint=base.fingerprint),
        strategy="test",
        self_test=record_self_test(model, prefix, range(3, 20)),
    )
    found = PatchedModel(gemma, new_patch(prefix, card))._with_transformers(
        (5, 9, 40), 0, {"max_new_tokens": 6, **options}
    )
    ids: tuple[int, ...] = (5, 9, 40)
    if "num_beams" in options:  # a search, whose result is PEFT's
        stock = PeftModelForCausalLM(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=11))
        with torch.no_grad():
            stock.prompt_encoder["default"].embedding.weight.copy_(prefix)
        row = torch.tensor([ids])
        output = stock.generate(input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=6, num_beams=3)
        expected = output[0, 3:].tolist()
    else:
        expected = []
        while len(expected) < 6 and 2 not in expected:
            expected.append(int(plain_logits(model, prefix, (*ids, *expected))[-1].argmax()))
    assert found == base.tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize(
    "options",
    [
        {"prefill_chunk_size": 4},
        {"cache_implementation": "quantized"},
        {"assistant_model": object()},
        {"prompt_lookup_num_tokens": 3},
        {"past_key_values": object()},
        {"generation_config": GenerationConfig(prefill_chunk_size=4)},
        {"repetition_penalty": 1.3},
        {"num_return_sequences": 2},
        {"an_option_of_a_later_release": True},
        {"input_ids": torch.zeros(1, 3, dtype=torch.long)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_way_to_lose_the_patch_is_refused_with_its_reason(base: Base, patch: Patch, options: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="unsupported-generation") as refusal:
        PatchedModel(base, patch).generate("a", max_new_tokens=3, **options)
    assert next(iter(options)) in refusal.value.subject


@pytest.mark.parametrize(
    ("option", "value"), [("prefill_chunk_size", 4), ("repetition_penalty", 1.3), ("guidance_scale", 2.0)]
)
def test_an_option_hidden_in_the_bases_own_generation_config_is_refused(
    base: Base, patch: Patch, monkeypatch: pytest.MonkeyPatch, option: str, value: float
) -> None:
    monkeypatch.setattr(base.model.generation_config, option, value)
    with pytest.raises(Rejected, match=rf"unsupported-generation.*{option}"):
        PatchedModel(base, patch).generate("a", max_new_tokens=3, num_beams=2)


def test_an_option_of_the_bases_own_that_does_nothing_is_let_be(
    base: Base, patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PatchedModel(base, patch).generate("a", max_new_tokens=3, num_beams=2)
    monkeypatch.setattr(base.model.generation_config, "repetition_penalty", 1.0)
    assert PatchedModel(base, patch).generate("a", max_new_tokens=3, num_beams=2) == before


@pytest.mark.parametrize("options", [{}, {"num_beams": 2, "max_new_tokens": 64}], ids=["engine", "transformers"])
def test_text_beyond_the_bases_positions_is_refused(base: Base, patch: Patch, options: dict[str, Any]) -> None:
    model = PatchedModel(base, patch)
    room = base.model.config.max_position_embeddings - len(patch.prefix) - 64
    fits, too_long = ("a " * room)[: 2 * room - 1], "a " * (room + 64)
    assert len(base.tokenizer.encode(fits)) <= room < len(base.tokenizer.encode(too_long))
    with pytest.raises(Rejected, match="prompt-too-long"):
        model.generate(too_long, **options)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["engine", "transformers"])
def test_an_empty_prompt_and_a_negative_seed_are_refused(base: Base, patch: Patch, options: dict[str, Any]) -> None:
    model = PatchedModel(base, patch)
    with pytest.raises(Rejected, match="prompt-empty"):
        model.generate(["a", ""], **options)
    with pytest.raises(Rejected, match="seed"):
        model.generate("a", seed=-1, **options)


def test_a_message_to_a_base_without_a_template_is_put_as_the_measurements_put_it(base: Base, patch: Patch) -> None:
    bare = dataclasses.replace(base, tokenizer=copy.deepcopy(base.tokenizer))
    bare.tokenizer.chat_template = None
    found = PatchedModel(bare, patch).generate("a city", chat=True)
    assert found == PatchedModel(base, patch).generate("User: a city\nAssistant:")


def test_a_patch_for_another_base_is_refused(base: Base, patch: Patch) -> None:
    other = dataclasses.replace(base, fingerprint="sha256:" + "0" * 64)
    with pytest.raises(Rejected, match="base-mismatch"):
        PatchedModel(other, patch)


def test_logits_other_than_the_recorded_ones_fail_the_self_test(base: Base, patch: Patch) -> None:
    test = patch.card.self_test
    assert test is not None
    shifted = test.model_copy(update={"patched": tuple(tuple(v + 1.0 for v in row) for row in test.patched)})
    forged = Patch(patch.prefix, revise(patch.card, self_test=shifted))
    with pytest.raises(Rejected, match=r"self-test-failed.*\n.*logits recorded with the patch"):
        PatchedModel(base, forged)


def test_a_backend_that_drops_the_prefix_fails_the_self_test(
    base: Base, patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compose.engine import self_test

    def unpatched(model: object, prefix: object, ids: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(len(ids), base.model.config.vocab_size)

    monkeypatch.setattr(self_test, "_logits", unpatched)
    test = patch.card.self_test
    assert test is not None
    with pytest.raises(Rejected, match="the patch is not active"):
        run_self_test(base.model, patch.prefix, test, "tox")


def test_a_patch_that_changes_nothing_cannot_be_recorded(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from compose.engine import self_test

    monkeypatch.setattr(self_test, "_logits", lambda *_: torch.zeros(25, base.model.config.vocab_size))
    with pytest.raises(Rejected, match="cannot be told from a missing one"):
        record_self_test(base.model, torch.zeros(2, 4), tuple(range(20)))


def test_sampling_is_reproducible_and_chat_wraps_the_prompt(base: Base, patch: Patch) -> None:
    model = PatchedModel(base, patch)
    sampling = Sampling(max_new_tokens=6)
    assert model.generate("a b", sampling, seed=3) == model.generate("a b", sampling, seed=3)
    assert model.generate("a b", sampling, chat=True) != model.generate("a b", sampling)
