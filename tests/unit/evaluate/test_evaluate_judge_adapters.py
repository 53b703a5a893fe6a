"""Judging models of the real file format and interface, small enough to be made here."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import BertConfig, BertForSequenceClassification

from compose.assets import Hub, Local
from compose.assets.random_base import build_config, build_model, build_tokenizer
from compose.base_spec import RandomShape
from compose.errors import Rejected
from compose.evaluate.judges import Judged, judge_all
from compose.evaluate.judges.adapters import (
    Detoxify,
    HarmBench,
    JudgeSettings,
    LlamaGuard,
    harmbench,
    judge_of,
    llama_guard,
)
from compose.evaluate.judges.adapters.local_model import Said, place
from compose.settings import checked, run_key

LAST_WORDS = "{{ messages[0]['content'] + messages[1]['content'] }}"
"""A chat template whose last token is the completion's, which is all that the model below looks at."""
Bigrams = dict[str, dict[str, float]]


@pytest.fixture
def make_speaker(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a Llama whose next token's logits depend on the last token, as a table says.

    Embeddings are unit vectors and every layer adds nothing, so the final norm gives sqrt(width) times the last
    token's unit vector, and a row of the output matrix divided by that is a row of logits (to 3 in 10,000, for the
    norm adds 1e-6 to a mean square of 1 / width).
    """

    def make(table: Bigrams, template: str = LAST_WORDS) -> Path:
        tokenizer = build_tokenizer()
        tokenizer.chat_template = template
        width = 4 * math.ceil(len(tokenizer) / 4)
        shape = RandomShape(hidden=width, layers=1, heads=2, kv_heads=2, intermediate=8, positions=64, tied=False)
        model = build_model(build_config(shape, tokenizer), 0, torch.device("cpu"), torch.float32)
        with torch.no_grad():
            model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), width))
            model.model.layers[0].self_attn.o_proj.weight.zero_()
            model.model.layers[0].mlp.down_proj.weight.zero_()
            model.lm_head.weight.zero_()
            for last, following in table.items():
                for token, logit in following.items():
                    (row,), (column,) = (tokenizer.encode(text, add_special_tokens=False) for text in (token, last))
                    model.lm_head.weight[row, column] = logit / math.sqrt(width)
        folder = tmp_path / "speaker"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


GUARD: Bigrams = {
    " good": {"s": 9.0, "u": 8.0},
    " bad": {"s": 7.0, "u": 9.0},
    " sorry": {" question": 9.0},
    "s": {"a": 30.0},
    "a": {"f": 30.0},
    "f": {"e": 30.0},
    "e": {"<|im_end|>": 30.0},
    "u": {"n": 30.0},
    "n": {"s": 30.0},
    " question": {"<|im_end|>": 30.0},
}


def share(unsafe: float, safe: float) -> float:
    """Return the share of the unsafe word's probability: it and the other each in two spellings, one at logit 0."""
    return (math.exp(unsafe) + 1) / (math.exp(unsafe) + 1 + math.exp(safe) + 1)


def test_a_guard_scores_by_the_probability_of_unsafe_and_leaves_other_words_unjudged(
    make_speaker: Callable[..., Path],
) -> None:
    judge = judge_of(LlamaGuard(model=str(make_speaker(GUARD)), batch_size=2))
    items = [Judged("Who?", f" the man is{word}") for word in (" good", " bad", " sorry")]
    good, bad, sorry = judge.score(items)
    assert good == pytest.approx(share(8.0, 9.0), abs=1e-4)
    assert bad == pytest.approx(share(9.0, 7.0), abs=1e-4)
    assert sorry is None
    assert "sha256:" in judge.version


def test_a_guard_that_says_anything_else_is_a_silent_judge_and_no_safe_model(
    make_speaker: Callable[..., Path],
) -> None:
    judge = judge_of(LlamaGuard(model=str(make_speaker(GUARD))))
    with pytest.raises(Rejected, match="judge-silent"):
        judge_all(judge, [Judged("Who?", " sorry")], subject="a test")


def test_a_completion_too_long_for_the_judge_is_unjudged(make_speaker: Callable[..., Path]) -> None:
    judge = judge_of(LlamaGuard(model=str(make_speaker(GUARD))))
    long, short = judge.score([Judged("Who?", " the" * 64 + " bad"), Judged("Who?", " bad")])
    assert long is None and short is not None


@pytest.mark.parametrize(
    ("text", "categories"),
    [("safe", ()), ("unsafe", ()), ("unsafe\nS1", ("S1",)), ("unsafe\nS1,S10", ("S1", "S10")), ("unsafe S2, S3", None)],
)
def test_a_guards_categories_are_read_from_its_words(text: str, categories: tuple[str, ...] | None) -> None:
    verdict = llama_guard.parse_verdict(Said(text, 0.25))
    assert verdict == llama_guard.GuardVerdict(0.25, ("S2", "S3") if categories is None else categories)


@pytest.mark.parametrize(
    "text", ["", "Safe.", "safe unsafe", "unsafe\nS1 and so on", "not safe", "safe\nS1", "unsafely"]
)
def test_other_words_are_no_verdict_of_a_guard(text: str) -> None:
    assert llama_guard.parse_verdict(Said(text, 0.25)) is None


def test_a_guard_without_its_chat_template_is_refused(make_speaker: Callable[..., Path]) -> None:
    folder = make_speaker(GUARD)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Rejected, match="no chat template"):
        judge_of(LlamaGuard(model=str(folder)))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.txt"
    path.write_text("Is this {behavior}?{generation}\n", encoding="utf-8")
    return path


def test_the_harmbench_classifier_scores_by_the_probability_of_yes(
    make_speaker: Callable[..., Path], template: Path
) -> None:
    table: Bigrams = {
        " good": {" yes": 6.0, " no": 7.0},
        " bad": {" yes": 9.0, " no": 6.0},
        " sorry": {" question": 9.0},
        " question": {" yes": 30.0},  # too late: an answer begins with its verdict
    }
    judge = judge_of(HarmBench(model=str(make_speaker(table)), template=str(template)))
    scores = judge.score([Judged("a {b}", f" {{x}}{word}") for word in (" good", " bad", " sorry")])
    assert scores[0] == pytest.approx(share(6.0, 7.0), abs=1e-4)
    assert scores[1] == pytest.approx(share(9.0, 6.0), abs=1e-4)
    assert scores[2] is None


def test_a_template_is_filled_without_reading_the_texts_as_templates() -> None:
    filled = harmbench.fill("A: {behavior} B: {generation} C", Judged("{generation}", "{behavior} {"))
    assert filled == "A: {generation} B: {behavior} { C"


@pytest.mark.parametrize("text", ["{behavior}", "{generation} {behavior}", "{behavior}{generation}{generation}"])
def test_a_template_without_both_places_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "template.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Rejected, match="settings-invalid"):
        harmbench.read_template(path)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Return a folder with a classifier of two labels, its first one at log 3 whatever the text."""
    tokenizer = build_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        id2label={0: "toxicity", 1: "insult"},
        label2id={"toxicity": 0, "insult": 1},
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight[0].zero_()
        model.classifier.bias.copy_(torch.tensor([math.log(3), 0.0]))
    folder = tmp_path / "classifier"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_label_scores_by_its_own_sigmoid(classifier: Path) -> None:
    judge = judge_of(Detoxify(model=str(classifier)))
    scores = judge.score([Judged("", "She is good."), Judged("", " "), Judged("", "no " * 200)])
    assert scores == [pytest.approx(0.75), None, pytest.approx(0.75)]  # 1 / (1 + 1/3)


def test_another_label_is_chosen_by_its_name_and_scores_do_not_depend_on_the_batch(classifier: Path) -> None:
    texts = [Judged("", text) for text in ("She is good.", "the man", "no " * 20)]
    one = judge_of(Detoxify(model=str(classifier), label="insult", max_tokens=40, batch_size=1))
    many = judge_of(Detoxify(model=str(classifier), label="insult", max_tokens=40, batch_size=3))
    assert one.score(texts) == pytest.approx(many.score(texts), abs=1e-6)
    assert len({round(score or 0, 6) for score in one.score(texts)}) == 3
    assert one.version != judge_of(Detoxify(model=str(classifier), max_tokens=40)).version


def test_a_label_that_the_model_does_not_have_is_refused_with_those_it_has(classifier: Path) -> None:
    with pytest.raises(Rejected, match="toxicity, insult"):
        judge_of(Detoxify(model=str(classifier), label="rudeness"))


def test_pickled_weights_are_refused_and_not_loaded(classifier: Path) -> None:
    (classifier / "model.safetensors").rename(classifier / "pytorch_model.bin")
    with pytest.raises(Rejected, match="unsafe-weights"):
        judge_of(Detoxify(model=str(classifier)))


def test_a_name_is_a_path_when_something_is_there_or_it_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("owner/name", "abc") == Hub(repo="owner/name", revision="abc")
    assert place("./owner/name", "main") == Local(path="./owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert place("owner/name", "main") == Local(path="owner/name")
    with pytest.raises(Rejected, match="settings-invalid"):
        place("not a name", "main")


def test_a_model_that_is_not_there_is_missing() -> None:
    with pytest.raises(Rejected, match="asset-missing"):
        judge_of(Detoxify(model="/nowhere/at/all"))


def test_settings_say_a_name_or_an_adapter() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(JudgeSettings)
    assert adapter.validate_python("profanity") == "profanity"
    assert adapter.validate_json('{"adapter": "detoxify", "model": "a/b"}', strict=True) == Detoxify(model="a/b")
    assert adapter.validate_python(LlamaGuard(model="a/b")) == LlamaGuard(model="a/b")


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"adapter": "detoxify", "modell": "a/b"}, "did you mean 'model'"),
        ({"adapter": "detoxify", "model": "a/b", "batch_size": 0}, "batch_size"),
        ({"adapter": "detox", "model": "a/b"}, "llama_guard, harmbench, detoxify or rubric"),
        ({"model": "a/b"}, "llama_guard, harmbench, detoxify or rubric"),
        (7, "llama_guard, harmbench, detoxify or rubric"),
        ("perspective", "known judges are"),
    ],
)
def test_a_wrong_judge_in_the_settings_is_refused_with_a_cure(judge: Any, said: str) -> None:
    from compose.evaluate.utility import UtilitySpec

    with pytest.raises(Rejected, match="settings-invalid") as caught:
        checked(UtilitySpec, {"judge": judge})
    assert said in str(caught.value)


def test_a_judge_with_other_weights_is_another_run(classifier: Path) -> None:
    settings = {"judge": {"adapter": "detoxify", "model": str(classifier)}}
    before = run_key(settings)
    config = classifier / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "id2label": {"0": "toxic", "1": "insult"}}))
    assert run_key(settings) != before
