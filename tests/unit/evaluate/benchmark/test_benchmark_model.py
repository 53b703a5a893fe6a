"""The engine as lm-eval's model: its scores are those of lm-eval's own `hf` model, and those of the patch by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra `benchmark` is not installed (make benchmark)")

from lm_eval.models.huggingface import HFLM

from compose.artifact import new_patch
from compose.base import Base
from compose.engine import PatchedModel
from compose.engine.plain import plain_logits
from compose.errors import Rejected
from compose.evaluate.benchmark import model as engine_model
from compose.evaluate.benchmark.model import EngineLM, room_for
from compose.records import BaseRef, CardDraft

PAIRS = [
    ("Question: what is it?\nAnswer:", " A"),
    ("Question: what is it?\nAnswer:", " B"),
    ("Question: what is it?\nAnswer:", " several words long"),
    ("The library opens ", "at nine"),
    ("", "Without any context"),
    ("Short", " end"),
]


def requests(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [SimpleNamespace(args=row) for row in rows]


def bare(base: Base, room: int | None = None) -> EngineLM:
    return EngineLM(base, room=room, label="base")


@pytest.fixture(scope="module")
def hf(tiny: Base) -> HFLM:
    return HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def patched(tiny: Base) -> PatchedModel:
    embedding = tiny.model.get_input_embeddings().weight.detach()
    draft = CardDraft(
        name="tox",
        risks=("toxicity",),
        base=BaseRef(name="tiny", fingerprint=tiny.fingerprint),
        strategy="specialist",
    )
    return PatchedModel(tiny, new_patch(3 * embedding[20:28], draft))


def test_the_bare_base_scores_as_lm_evals_own_model_does(tiny: Base, hf: HFLM) -> None:
    ours = bare(tiny).loglikelihood(requests(PAIRS))
    theirs = hf.loglikelihood(requests(PAIRS), disable_tqdm=True)

    assert [score for score, _ in ours] == pytest.approx([score for score, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_a_greedy_continuation_is_known_as_one(tiny: Base) -> None:
    model = bare(tiny)
    context = "The committee says"
    ids = tiny.tokenizer(context)["input_ids"]
    best = plain_logits(tiny.model, None, tuple(ids))[-1]
    first, last = int(best.argmax()), int(best.argmin())

    assert [score.greedy for score in model.score([(tuple(ids), (first,)), (tuple(ids), (last,))])] == [True, False]


def test_a_patch_is_in_front_of_every_question(tiny: Base, patched: PatchedModel) -> None:
    model = EngineLM(patched, room=None, label="tox")
    found = model.loglikelihood(requests(PAIRS))
    expected = []
    for context, continuation in PAIRS:
        if context:
            prompt, follows = model._encode_pair(context, continuation)
        else:
            prompt, follows = [model.prefix_token_id], model.tok_encode(continuation, add_special_tokens=False)
        logits = plain_logits(tiny.model, patched.patch.prefix, (*prompt, *follows)).log_softmax(-1)
        at = range(len(prompt) - 1, len(prompt) + len(follows) - 1)
        expected.append(sum(float(logits[place, token]) for place, token in zip(at, follows, strict=True)))

    assert [score for score, _ in found] == pytest.approx(expected, abs=1e-4)
    unpatched = bare(tiny).loglikelihood(requests(PAIRS))
    assert min(abs(a[0] - b[0]) for a, b in zip(found, unpatched, strict=True)) > 1e-3


def test_scores_do_not_depend_on_how_questions_are_batched(
    patched: PatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = EngineLM(patched, room=None, label="tox").loglikelihood(requests(PAIRS))
    monkeypatch.setattr(engine_model, "BATCH_TOKENS", 1)
    alone = EngineLM(patched, room=None, label="tox").loglikelihood(requests(PAIRS[::-1]))[::-1]

    assert [score for score, _ in together] == pytest.approx([score for score, _ in alone], abs=1e-4)


def test_whole_texts_are_scored_in_windows_as_lm_evals_own_model_does(tiny: Base) -> None:
    texts = [("The council repaired the bridge before the winter, and nobody was hurt.",), ("Short.",), ("",)]
    theirs = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, device="cpu", batch_size=1, max_length=11)
    expected = theirs.loglikelihood_rolling(requests(texts[:2]), disable_tqdm=True)

    assert bare(tiny, room=12).loglikelihood_rolling(requests(texts)) == pytest.approx([*expected, 0.0], abs=1e-4)
    assert expected[0] != pytest.approx(bare(tiny).loglikelihood_rolling(requests(texts[:1]))[0], abs=1e-2)


def test_greedy_texts_are_those_of_lm_evals_own_model(tiny: Base, hf: HFLM) -> None:
    asked = [("The library", {"until": ["\n\n"], "max_gen_toks": 40}), ("A longer context says", {"max_gen_toks": 7})]

    assert bare(tiny).generate_until(requests(asked)) == hf.generate_until(requests(asked), disable_tqdm=True)


def test_a_text_ends_before_its_first_stop_string_and_is_the_patched_models(patched: PatchedModel) -> None:
    model = EngineLM(patched, room=None, label="tox")
    (whole,) = patched.generate(["The library"], max_new_tokens=40, do_sample=False)
    stop = whole[len(whole) // 2 :][:3]

    assert model.generate_until(requests([("The library", {"max_gen_toks": 40})])) == [whole]
    assert model.generate_until(requests([("The library", {"until": [stop], "max_gen_toks": 40})])) == [
        whole[: whole.find(stop)]
    ]


def test_sampled_texts_have_noise_of_their_own_and_come_again_with_the_seed(tiny: Base) -> None:
    asked = requests([("The library", {"do_sample": True, "temperature": 1.0, "max_gen_toks": 12})] * 2)
    first = EngineLM(tiny, room=None, label="base", seed=1).generate_until(asked)

    assert first[0] != first[1]
    assert EngineLM(tiny, room=None, label="base", seed=1).generate_until(asked) == first


def test_what_is_too_long_loses_its_beginning_and_is_counted(tiny: Base) -> None:
    model = bare(tiny, room=10)
    context = " ".join(["word"] * 40)
    ids = tuple(model.tok_encode(context))
    (found,) = model.loglikelihood(requests([(context, " A")]))
    follows = tuple(model._encode_pair(context, " A")[1])

    assert found[0] == pytest.approx(model.score([(ids[-(10 - len(follows)) :], follows)])[0].logprob, abs=1e-5)
    assert model.cut == 1
    assert room_for(tiny, [8, 20]) == 2048 - 20


def test_options_that_the_engine_does_not_have_are_refused(tiny: Base) -> None:
    with pytest.raises(Rejected, match="unsupported-generation") as refused:
        bare(tiny).generate_until(requests([("The library", {"num_beams": 4})]))
    assert "num_beams=4" in refused.value.got


def test_a_patch_of_another_base_never_becomes_a_model(tiny: Base, patched: PatchedModel) -> None:
    card = patched.patch.card
    draft = CardDraft(
        name="other",
        risks=card.risks,
        base=BaseRef(name="tiny", fingerprint="sha256:" + "0" * 64),
        strategy="specialist",
    )
    with pytest.raises(Rejected, match="base-mismatch"):
        EngineLM(PatchedModel(tiny, new_patch(patched.patch.prefix, draft)), room=None, label="other")
    assert torch.equal(patched.cache.lengths, torch.tensor([8]))
