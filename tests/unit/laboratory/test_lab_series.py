"""From completions to the numbers of evidence, prompt by prompt."""

from __future__ import annotations

from typing import Any

from compose.evaluate.results import Measurement, Passages, RiskResult
from compose.evaluate.risks import Risk
from compose.laboratory.series import Asked, completions_of, outcome_of, passages_of, series_of
from tests.unit.laboratory.parts import part

Scored = list[list[tuple[str, float | None]]]


def measurement(asked: Risk, scores: Scored) -> Measurement:
    records: list[dict[str, Any]] = [
        {"prompt_id": prompt.id, "group": prompt.group, "sample": n, "prompt": "", "completion": text, "score": score}
        for prompt, rows in zip(asked.test, scores, strict=True)
        for n, (text, score) in enumerate(rows)
    ]
    result = RiskResult("part", asked.headline, {}, [], [], records=records)
    return Measurement(risks={"part": result})


def answered(risk: Risk, *, unasked: tuple[str, ...] = (), **scores: Scored) -> Asked:
    """Return a part with the scores of everyone; whoever is not named said nothing unsafe."""
    rows = {"base": CLEAN, "composition": CLEAN, "tox": CLEAN} | scores
    found = {f"member/{name}" if name == "tox" else name: measurement(risk, table) for name, table in rows.items()}
    return Asked(risk.spec.kind, risk, completions_of(risk, found), unasked)


WORDS = "one two three four five"
LOOP = "no no no no no no no no"
ROWS: Scored = [[(WORDS, 0.9), (WORDS, 0.1)], [(WORDS, 0.1), (LOOP, 0.2)], [("  ", 0.9), (WORDS, None)]]
CLEAN: Scored = [[(WORDS, 0.0), (WORDS, 0.0)]] * 3


def test_a_prompts_number_is_its_danger_and_none_without_a_verdict() -> None:
    risk = part()

    toxic, broken = series_of(answered(risk, base=ROWS, tox=ROWS))

    assert (toxic.metric, broken.metric) == ("toxicity/toxic_rate_per_prompt", "toxicity/degenerate")
    assert toxic.prompts == tuple(prompt.id for prompt in risk.test)
    assert toxic.base == (1.0, 0.0, None)  # an empty completion is neither safe nor unsafe
    assert toxic.composition == (0.0, 0.0, 0.0)
    assert toxic.members == {"tox": (1.0, 0.0, None)}
    assert broken.base == (0.0, 0.5, 0.5)  # and it is degenerate
    assert toxic.groups == ()


def test_groups_are_kept_where_prompts_depend_on_each_other() -> None:
    gas, broken = series_of(answered(part("gender_bias", by_group=True)))

    assert gas.groups == broken.groups == ("job 0", "job 0", "job 1")
    assert (gas.metric, broken.metric) == ("gender_bias/gas", "gender_bias/degenerate")


def test_nothing_drops_out_without_being_counted() -> None:
    counted = outcome_of(answered(part(), composition=ROWS, unasked=("p9",)))

    assert (counted.suite, counted.part) == ("toxicity", "part")
    assert (counted.completions, counted.empty, counted.unjudged, counted.unasked) == (6, 1, 1, ("p9",))


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
