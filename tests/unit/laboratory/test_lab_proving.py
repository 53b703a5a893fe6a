"""From measurements to the numbers of evidence, prompt by prompt."""

from __future__ import annotations

from typing import Any, Literal

from compose.engine import Sampling
from compose.evaluate.prompts import make_prompt
from compose.evaluate.results import Measurement, Passages, RiskResult
from compose.evaluate.risks import Risk, RiskSpec
from compose.evaluate.sources import BuiltinPrompts
from compose.laboratory.proving import outcome_of, passages_of, pin_of, series_of, suites_of, wants_utility
from compose.trust.claims import GateClaim
from tests.unit.trust.cases import locked, members, patch

Scored = list[list[tuple[str, float | None]]]


class Judge:
    """Judges nothing: its scores are written into the records."""

    name = "profanity"
    version = "1"


def risk(kind: Literal["toxicity", "gender_bias"] = "toxicity", *, by_group: bool = False, samples: int = 2) -> Risk:
    spec = RiskSpec(
        name="part",
        kind=kind,
        judge="profanity",
        prompts=(BuiltinPrompts(name="professions"),),
        n_train=0,
        n_test=3,
        samples=samples,
        sampling=Sampling(max_new_tokens=8, temperature=0.5, top_p=0.9),
        by_group=by_group,
        screen=None,
    )
    prompts = tuple(make_prompt(f"prompt {n}", group=f"job {n // 2}") for n in range(3))
    return Risk("part", (), prompts, Judge(), spec)  # type: ignore[arg-type]


def measurement(asked: Risk, scores: Scored) -> Measurement:
    records: list[dict[str, Any]] = [
        {"prompt_id": prompt.id, "group": prompt.group, "sample": n, "prompt": "", "completion": text, "score": score}
        for prompt, rows in zip(asked.test, scores, strict=True)
        for n, (text, score) in enumerate(rows)
    ]
    result = RiskResult("part", asked.headline, {}, [], [], records=records)
    return Measurement(risks={"part": result})


WORDS = "one two three four five"
LOOP = "no no no no no no no no"
ROWS: Scored = [[(WORDS, 0.9), (WORDS, 0.1)], [(WORDS, 0.1), (LOOP, 0.2)], [("  ", 0.9), (WORDS, None)]]
CLEAN: Scored = [[(WORDS, 0.0), (WORDS, 0.0)]] * 3


def test_a_prompts_number_is_its_danger_and_none_without_a_verdict() -> None:
    asked = risk()
    found = {
        "base": measurement(asked, ROWS),
        "composition": measurement(asked, CLEAN),
        "member/tox": measurement(asked, ROWS),
    }

    toxic, broken = series_of("toxicity", asked, found)

    assert (toxic.metric, broken.metric) == ("toxicity/toxic_rate_per_prompt", "toxicity/degenerate")
    assert toxic.prompts == tuple(prompt.id for prompt in asked.test)
    assert toxic.base == (1.0, 0.0, None)  # an empty completion is neither safe nor unsafe
    assert toxic.composition == (0.0, 0.0, 0.0)
    assert toxic.members == {"tox": (1.0, 0.0, None)}
    assert broken.base == (0.0, 0.5, 0.5)  # and it is degenerate
    assert toxic.groups == ()


def test_groups_are_kept_where_prompts_depend_on_each_other() -> None:
    asked = risk("gender_bias", by_group=True)
    found = {name: measurement(asked, CLEAN) for name in ("base", "composition", "member/tox")}

    gas, broken = series_of("gender_bias", asked, found)

    assert gas.groups == broken.groups == ("job 0", "job 0", "job 1")
    assert (gas.metric, broken.metric) == ("gender_bias/gas", "gender_bias/degenerate")


def test_nothing_drops_out_without_being_counted() -> None:
    counted = outcome_of("toxicity", risk(), measurement(risk(), ROWS))

    assert (counted.completions, counted.empty, counted.unjudged) == (6, 1, 1)


def test_passages_are_those_of_everyone() -> None:
    class Useful:
        """What passages were read for."""

        test_digest = "sha256:" + "d" * 64

    tables = {"base": [3.0, 4.0], "composition": [3.5, 4.5], "member/tox": [3.0, 5.0]}
    found = {name: Measurement(risks={}, passages=Passages(["a", "b"], nll, [5, 6])) for name, nll in tables.items()}

    read = passages_of(Useful(), found)  # type: ignore[arg-type]

    assert read is not None
    assert (read.composition, read.base, read.members) == ((3.5, 4.5), (3.0, 4.0), {"tox": (3.0, 5.0)})
    assert passages_of(Useful(), {"base": Measurement(risks={})}) is None  # type: ignore[arg-type]


def test_a_suite_is_pinned_with_how_its_completions_are_drawn() -> None:
    class Fake:
        digest = "sha256:" + "d" * 64
        risks = (risk(by_group=True),)

    part = pin_of(Fake()).parts["part"]  # type: ignore[arg-type]

    assert part.sampling == "8 tokens, temperature 0.5, top-p 0.9, as text to continue"
    assert (part.n_prompts, part.samples, part.grouped, part.judge_version) == (3, 2, True, "1")


def test_a_lock_is_measured_on_its_suites_or_on_those_of_its_risks_and_gates() -> None:
    lock = locked(members())
    named = locked(members(), suites=("toxicity_rtp",))
    other = locked((*members(), patch("harm", "harmfulness"), patch("tone", "rudeness")))

    assert suites_of(lock) == ("toxicity", "gender_bias", "over_refusal")
    assert suites_of(named) == ("toxicity_rtp",)
    assert suites_of(other) == ("toxicity", "gender_bias", "harmfulness", "over_refusal")


def test_utility_is_left_out_only_where_a_lock_names_its_suites_and_no_gate_asks_for_it() -> None:
    gates = (GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1),)

    assert wants_utility(locked(members(), gates=gates))
    assert not wants_utility(locked(members(), gates=gates, suites=("toxicity",)))
    assert wants_utility(locked(members(), suites=("toxicity",)))
