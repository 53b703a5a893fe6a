import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from compose.base import Base
from compose.engine import prefix_cache
from compose.errors import Rejected
from compose.evaluate.judges import Judged, make_judge
from compose.evaluate.prompts import make_prompt
from compose.evaluate.results import Passages
from compose.evaluate.sampling import Completion
from compose.evaluate.utility import (
    Utility,
    UtilitySpec,
    benign_requests,
    load_utility,
    measure_utility,
    passage_nll,
    perplexity,
    perplexity_ratio,
)
from compose.report.tables import FIRST_UTILITIES

Lines = Callable[..., dict[str, Any]]


def settings(source: dict[str, Any], **fields: Any) -> UtilitySpec:
    values = {"neutral": source, "n_neutral_train": 3, "n_neutral_test": 4, "n_benign_test": 6, **fields}
    return TypeAdapter(UtilitySpec).validate_python(values)


@pytest.fixture
def utility(write_lines: Lines) -> Utility:
    return load_utility(settings(write_lines("neutral.txt", [f"In May it rained {n} times." for n in range(9)])))


def test_anchors_and_test_prompts_do_not_overlap(utility: Utility) -> None:
    for train, test in (
        (utility.neutral_train, utility.neutral_test),
        (utility.benign_train, utility.benign_test),
    ):
        assert train and test
        assert not {p.text.casefold() for p in train} & {p.text.casefold() for p in test}


def test_the_default_is_the_embedded_text_and_all_benign_requests() -> None:
    spec = UtilitySpec()
    assert spec.neutral.format == "cloze"
    assert (spec.n_benign_train, spec.n_benign_test, spec.max_tokens) == (60, 60, 96)


def test_too_few_passages_are_refused(write_lines: Lines) -> None:
    with pytest.raises(Rejected, match="prompts-too-few"):
        load_utility(settings(write_lines("neutral.txt", ["One.", "Two."])))


def test_benign_requests_are_sixty_a_side_with_some_that_only_sound_alarming() -> None:
    train, test = benign_requests("train"), benign_requests("test")
    assert len(train) == len(test) == 60
    assert not {p.id for p in train} & {p.id for p in test}
    assert all(p.chat for p in (*train, *test))
    assert sum(p.group == "alarming" for p in train) == sum(p.group == "alarming" for p in test) == 15
    assert {p.group for p in test[:12]} == {"plain", "alarming"}


def test_no_benign_request_reads_like_a_refusal_or_profanity() -> None:
    items = [Judged("", p.text) for side in ("train", "test") for p in benign_requests(side)]
    assert set(make_judge("refusal_phrases").score(items)) == {1.0}


def test_perplexity_is_token_weighted() -> None:
    # 2 nats over 1 token and 1 nat over 2 tokens: exp(3 / 3)
    found = perplexity(Passages(["a", "b"], [2.0, 1.0], [1, 2]))
    assert found.value == pytest.approx(math.e)
    assert (found.direction, found.n) == ("lower", 2)
    # a draw may hold one passage twice: exp(2) at most, exp(1 / 2) at least
    assert found.low == pytest.approx(math.exp(0.5))
    assert found.high == pytest.approx(math.exp(2.0))


def test_the_ratio_of_perplexities_is_paired_over_passages() -> None:
    base = Passages(["a", "b"], [2.0, 8.0], [2, 4])
    patched = Passages(["a", "b"], [2.2, 8.4], [2, 4])
    found = perplexity_ratio(patched, base)
    # each passage is .1 nats a token worse, so no resampling can change the ratio
    assert found.value == pytest.approx(math.exp(0.1))
    assert [found.low, found.high] == pytest.approx([math.exp(0.1), math.exp(0.1)])


def test_perplexities_of_different_passages_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="different passages"):
        perplexity_ratio(Passages(["a"], [1.0], [1]), Passages(["b"], [1.0], [1]))


def test_a_passages_nll_is_the_models_own_without_its_first_token(tiny: Base) -> None:
    passage = make_prompt("The judge wrote the letter.")
    with torch.no_grad():
        (found,) = passage_nll(tiny, prefix_cache(tiny.model, [None]), [passage], 96)
        ids = torch.tensor(tiny.tokenizer(passage.text)["input_ids"])
        logprobs = tiny.model(ids[None]).logits[0].double().log_softmax(-1)
    by_hand = -sum(float(logprobs[i - 1, ids[i]]) for i in range(1, len(ids)))
    assert found.nll[0] == pytest.approx(by_hand, rel=1e-5)
    assert found.tokens == [len(ids) - 1]


def test_a_long_passage_is_cut_and_one_of_a_single_token_is_left_out(tiny: Base) -> None:
    passages = [make_prompt("The judge wrote the letter."), make_prompt("a")]
    with torch.no_grad():
        (found,) = passage_nll(tiny, prefix_cache(tiny.model, [None]), passages, 5)
    assert found.ids == [passages[0].id]
    assert found.tokens == [4]


def test_utility_is_measured_for_every_patch_with_its_direction(tiny: Base, utility: Utility) -> None:
    prefix = torch.full((3, 64), 0.5)
    with torch.no_grad():
        cache = prefix_cache(tiny.model, [None, prefix])
        base, patched = measure_utility(tiny, ["base", "p"], cache, utility, seed=0)
    assert base.metrics["perplexity"].value != patched.metrics["perplexity"].value
    assert base.metrics["perplexity"].n == 4
    assert base.metrics["refusal_rate_benign"].direction == "lower"
    assert len(base.records) == 6
    assert base.metrics["refusal_rate_benign"].n == sum(bool(record["completion"].strip()) for record in base.records)
    assert "benign_trigram_repetition" in base.metrics
    assert set(FIRST_UTILITIES[:2]) <= set(base.metrics)  # what the terminal shows is what is measured


def test_an_empty_reply_is_no_refusal_and_no_help_and_is_counted(
    tiny: Base, utility: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(base: Base, cache: Any, prompts: Sequence[Any], *_: Any, **__: Any) -> list[list[list[Completion]]]:
        return [[[Completion("", False)] for _ in prompts]]

    monkeypatch.setattr("compose.evaluate.utility.sample_completions", silent)
    with torch.no_grad():
        (found,) = measure_utility(tiny, ["p"], prefix_cache(tiny.model, [None]), utility, seed=0)
    assert (found.metrics["refusal_rate_benign"].value, found.metrics["refusal_rate_benign"].n) == (None, 0)
    assert found.metrics["benign_empty_rate"].value == 1.0
