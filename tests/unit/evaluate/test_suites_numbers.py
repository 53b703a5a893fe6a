import math
from typing import Any

import pytest
from scipy.stats import binom

from compose.evaluate.statistics.rates import wilson
from compose.evaluate.suites.numbers import Number, Part, adjusted, counts, fluency, part_numbers, passage_numbers
from compose.evaluate.suites.rows import CompletionRow, MassRow, PassageRow


def part(**fields: Any) -> Part:
    given: dict[str, Any] = {
        "name": "rtp",
        "title": "RTP",
        "kind": "toxicity",
        "threshold": 0.5,
        "samples": 1,
        "n_prompts": 4,
        "duplicates": 0,
        "prompts": "sha256:" + "0" * 64,
        "judge": "first",
        "judge_version": "1",
    }
    return Part(**{**given, **fields})


def row(composition: str, prompt: str, score: float | None, **fields: Any) -> CompletionRow:
    given = {"group": "", "sample": 0, "prompt": prompt, "completion": f"{composition} answers {prompt} well"}
    return CompletionRow(composition=composition, prompt_id=prompt, score=score, **{**given, **fields})


def one(numbers: list[Number], **wanted: str) -> Number:
    (found,) = (
        number
        for number in numbers
        if all(getattr(number, key) == value for key, value in {"group": "", **wanted}.items())
    )
    return found


def test_a_rate_its_difference_to_the_base_and_mcnemar_are_those_of_the_rows() -> None:
    base, patch = [0.9, 0.8, 0.7, 0.6, 0.1, 0.9], [0.1, 0.2, 0.3, 0.4, 0.6, 0.9]
    rows = [row("base", f"p{n}", score) for n, score in enumerate(base)]
    rows += [row("p", f"p{n}", score) for n, score in enumerate(patch)]
    found = part_numbers(part(), rows, [])
    before = one(found, composition="base", metric="toxic_rate_per_prompt")
    after = one(found, composition="p", metric="toxic_rate_per_prompt")
    assert before.value == pytest.approx(5 / 6)
    assert before.difference is None and before.p is None
    low, high = wilson(5 / 6, 6)
    assert before.low == pytest.approx(low) and before.high == pytest.approx(high)
    # four prompts became safe, one became toxic: -3 of 6; McNemar: 2 * P(X <= 1 | 5 fair coins) = 2 * 6/32
    assert after.value == pytest.approx(2 / 6) and after.difference == pytest.approx(-3 / 6)
    assert after.p == pytest.approx(2 * float(binom.cdf(1, 5, 0.5))) == pytest.approx(12 / 32)
    assert after.difference_low is not None and after.difference_high is not None
    assert after.difference_low < -0.5 < after.difference_high


def test_p_values_are_adjusted_over_all_patches_for_whole_parts_by_their_own_judge() -> None:
    def number(composition: str, p: float | None, judge: str = "first", group: str = "") -> Number:
        return Number(
            part="rtp", composition=composition, metric="m", judge=judge, group=group, direction="lower",
            value=0.5, n=4, p=p,
        )  # fmt: skip

    numbers = [number("base", None), number("a", 0.03), number("b", 0.02), number("a", 0.01, judge="second")]
    numbers += [number("a", 0.01, group="threat")]

    # Holm: the smallest of two counts twice, .04; the other once, .03, and not less than the one before it.
    assert [n.p_holm for n in adjusted([part()], numbers)] == [None, 0.04, 0.04, None, None]


def test_prompts_of_one_group_are_drawn_together() -> None:
    # Four professions of ten prompts that agree: four independent values.
    rows = [
        row(name, f"p{n}", float(n < 20 and name == "base"), group=f"g{n // 10}")
        for name in ("base", "p")
        for n in range(40)
    ]
    apart = one(part_numbers(part(), rows, []), composition="p", metric="toxic_rate_per_prompt")
    together = one(part_numbers(part(by_group=True), rows, []), composition="p", metric="toxic_rate_per_prompt")
    assert apart.difference == together.difference == pytest.approx(-0.5)
    assert (together.difference_low, together.difference_high) == (-1.0, 0.0)
    assert apart.difference_high is not None and apart.difference_high < -0.3
    base = one(part_numbers(part(by_group=True), rows, []), composition="base", metric="toxic_rate_per_prompt")
    assert (base.low, base.high) == (0.0, 1.0)


def test_a_share_of_completions_is_corrected_for_its_judges_error() -> None:
    # Sensitivity .9, specificity .8: a true half appears as .5 * .9 + .5 * .2 = .55
    rows = [row("base", f"p{n}", float(n < 11)) for n in range(20)]
    found = part_numbers(part(judge_errors=(90, 100, 80, 100)), rows, [])
    share = one(found, composition="base", metric="toxic_rate_per_generation")
    assert share.value == pytest.approx(0.55)
    assert share.corrected == pytest.approx(0.5)
    assert share.corrected_low is not None and share.corrected_high is not None
    assert share.corrected_low < 0.5 < share.corrected_high
    # Whether *any* sample is toxic is no share of completions, and nobody has measured the judge on it.
    assert one(found, composition="base", metric="toxic_rate_per_prompt").corrected is None


def test_a_rate_of_refusals_is_corrected_from_the_other_side() -> None:
    # The judge's "unsafe" is a reply that does not refuse: 9 of 20 refuse, so .55 do not, which stands for .5.
    rows = [row("base", f"p{n}", float(n < 11)) for n in range(20)]
    found = part_numbers(part(kind="over_refusal", judge_errors=(90, 100, 80, 100)), rows, [])
    rate = one(found, composition="base", metric="refusal_rate")
    assert rate.value == pytest.approx(0.45)
    assert rate.corrected == pytest.approx(0.5)


def test_empty_and_unjudged_completions_are_counted_and_in_no_rate() -> None:
    rows = [
        row("base", "a", 1.0),
        row("base", "b", 0.0, completion=" \n"),  # a judge may call silence safe
        row("base", "c", None),
        row("base", "d", 0.0),
    ]
    rate = one(part_numbers(part(), rows, []), metric="toxic_rate_per_prompt")
    assert (rate.value, rate.n) == (0.5, 2)
    (found,) = counts(part(), rows)
    assert (found.completions, found.empty, found.unjudged, found.prompts_without_verdict) == (4, 1, 1, 2)


def test_completions_that_the_token_limit_cut_are_counted_apart_and_judged() -> None:
    rows = [row("base", "a", 1.0, truncated=True), row("base", "b", 0.0, truncated=False)]
    rate = one(part_numbers(part(), rows, []), metric="toxic_rate_per_prompt")
    assert (rate.value, rate.n) == (0.5, 2)
    assert [found.truncated for found in counts(part(), rows)] == [1]
    unknown = [*rows, row("base", "c", 0.0)]
    assert [found.truncated for found in counts(part(), unknown)] == [None]


def test_what_nobody_could_judge_has_no_value_and_not_zero() -> None:
    rows = [row(name, "a", None) for name in ("base", "p")]
    found = one(part_numbers(part(), rows, []), composition="p", metric="toxic_rate_per_prompt")
    assert (found.value, found.n, found.difference, found.p) == (None, 0, None, None)


def test_differences_are_over_prompts_that_both_have() -> None:
    rows = [row("base", "a", 1.0), row("base", "b", 1.0), row("p", "a", 0.0), row("p", "b", None)]
    found = one(part_numbers(part(), rows, []), composition="p", metric="toxic_rate_per_prompt")
    assert (found.value, found.difference) == (0.0, -1.0)


def test_the_second_judge_has_numbers_of_its_own() -> None:
    rows = [row("base", "a", 1.0, second=0.0), row("base", "b", 1.0, second=None)]
    found = part_numbers(part(second_judge="other", second_judge_version="2"), rows, [])
    assert one(found, metric="toxic_rate_per_prompt", judge="first").value == 1.0
    assert one(found, metric="toxic_rate_per_prompt", judge="other").value == 0.0
    (counted,) = counts(part(second_judge="other"), rows)
    assert counted.second_unjudged == 1


def test_groups_of_some_size_have_lines_of_their_own() -> None:
    rows = [row("base", f"a{n}", float(n < 2), group="a") for n in range(5)]
    rows += [row("base", f"b{n}", 1.0, group="b") for n in range(5)]
    rows += [row("base", "c0", 1.0, group="c")]
    found = part_numbers(part(), rows, [])
    assert one(found, metric="toxic_rate_per_prompt", group="a").value == pytest.approx(0.4)
    assert one(found, metric="toxic_rate_per_prompt", group="b").value == 1.0
    assert [number for number in found if number.group == "c"] == []
    assert one(found, metric="toxic_rate_per_prompt").value == pytest.approx(8 / 11)


def test_next_token_masses_are_numbers_that_no_judge_made() -> None:
    rows = [row("base", "a", 1.0), row("base", "b", 0.0)]
    masses = [
        MassRow(composition="base", prompt_id="a", female=0.3, male=0.1),
        MassRow(composition="base", prompt_id="b", female=0.1, male=0.2),
    ]
    found = part_numbers(part(kind="gender_bias"), rows, masses)
    assert one(found, metric="gas", judge="first").value == 0.5
    assert one(found, metric="mass_gap", judge="").value == pytest.approx((0.2 + 0.1) / 2)
    assert one(found, metric="abs_signed_gap", judge="").value == pytest.approx((0.2 - 0.1) / 2)


def test_fluency_is_the_median_and_gibberish_is_counted() -> None:
    # perplexities 2, 4 and 20000
    rows = [row("base", f"p{n}", 0.0, nll=3 * math.log(value), tokens=3) for n, value in enumerate((2, 20000, 4))]
    found = fluency([*rows, row("base", "p3", 0.0)])
    assert found["generation_perplexity_median"].value == pytest.approx(4)
    assert found["gibberish_count"].value == 1
    assert found["gibberish_rate"].value == pytest.approx(1 / 3)
    assert fluency([row("base", "p3", 0.0)]) == {}


def test_the_medians_interval_is_that_of_order_statistics() -> None:
    # n = 10: 95% lies between ranks 2 and 9 (1 + 10 of 1024 below each), by the binomial table
    rows = [row("base", f"p{n}", 0.0, nll=math.log(n), tokens=1) for n in range(1, 11)]
    found = fluency(rows)["generation_perplexity_median"]
    assert found.low == pytest.approx(2) and found.high == pytest.approx(9)


def test_perplexity_of_neutral_text_comes_with_its_ratio_to_the_base() -> None:
    rows = [
        PassageRow(composition=name, passage_id=f"t{n}", nll=tokens * math.log(value), tokens=tokens)
        for name, value in (("base", 10), ("p", 20))
        for n, tokens in enumerate((3, 5))
    ]
    found = passage_numbers(rows)
    assert one(found, composition="base", metric="perplexity").value == pytest.approx(10)
    assert one(found, composition="p", metric="perplexity_ratio").value == pytest.approx(2)
