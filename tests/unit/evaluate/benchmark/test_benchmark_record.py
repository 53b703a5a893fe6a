"""From rows to numbers by hand, and rows that are not to be believed. lm-eval is not needed to check a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.errors import Rejected
from compose.evaluate.benchmark import require_lm_eval
from compose.evaluate.benchmark.record import (
    ROWS_FILE,
    Asked,
    BenchmarkRow,
    direction,
    direction_of,
    numbers_of,
    refuse_other_questions,
)
from compose.evaluate.suites.rows import from_lines


def task(name: str, **metrics: str) -> Asked:
    return Asked(
        name=name,
        source="local files",
        version="1.0",
        shots=0,
        questions=4,
        metrics=metrics or {"acc": "higher"},  # type: ignore[arg-type]
    )


def rows(composition: str, values: list[float], name: str = "anatomy", metric: str = "acc") -> list[BenchmarkRow]:
    return [
        BenchmarkRow(
            composition=composition,
            task=name,
            question=place,
            request=f"asked {place}",
            target="1",
            responses=[],
            metrics={metric: value},
        )
        for place, value in enumerate(values)
    ]


def test_accuracies_are_compared_question_by_question() -> None:
    found = numbers_of([task("anatomy")], [*rows("base", [1, 0, 0, 1]), *rows("tox", [1, 0, 0, 0])])
    base, tox = found

    assert (base.value, tox.value, base.n, tox.n) == (0.5, 0.25, 4, 4)
    assert (base.difference, base.p) == (None, None)
    # One question of four was lost and none won: 2 * P(Binomial(1, 1/2) <= 0) = 1.
    assert (tox.difference, tox.p) == (-0.25, 1.0)
    # Wilson 1927 for 2 of 4 at z = 1.96: (0.5 + z^2/8 -+ z sqrt(1/16 + z^2/64)) / (1 + z^2/4).
    assert [base.low, base.high] == pytest.approx([0.1500, 0.8500], abs=1e-4)
    # Agresti and Min 2005: (-1.5 + 0.5) / 6 = -1/6, s = 2/6, half = 1.96 sqrt((1/3 - 1/36) / 6).
    half = 1.959964 * ((1 / 3 - 1 / 36) / 6) ** 0.5
    assert [tox.difference_low, tox.difference_high] == pytest.approx([-1 / 6 - half, -1 / 6 + half])


def test_the_questions_of_several_tasks_count_alike_when_taken_together() -> None:
    first = [*rows("base", [1, 1, 1]), *rows("tox", [0, 1, 1])]
    second = [*rows("base", [0], "law"), *rows("tox", [0], "law")]
    found = {(n.part, n.composition): n for n in numbers_of([task("anatomy"), task("law")], first + second)}

    assert found["all", "base"].value == 0.75
    assert found["all", "tox"].value == 0.5
    assert found["all", "tox"].n == 4
    assert {part for part, _ in found} == {"all", "anatomy", "law"}


def test_a_metric_that_is_no_verdict_has_no_mcnemar() -> None:
    asked = [task("summaries", loss="lower")]
    found = [*rows("base", [0.5, 0.7], "summaries", "loss"), *rows("tox", [0.6, 0.8], "summaries", "loss")]
    base, tox = numbers_of(asked, found)

    assert [base.value, tox.value] == pytest.approx([0.6, 0.7])
    assert base.direction == "lower"
    assert tox.difference == pytest.approx(0.1)
    assert tox.p is None


def test_the_filter_of_an_answer_is_no_part_of_which_way_is_better() -> None:
    assert direction(task("x", loss="lower"), "loss,strict-match") == "lower"
    assert [direction_of(better) for better in (True, False, None)] == ["higher", "lower", "higher"]


def test_two_models_that_were_asked_differently_are_not_compared() -> None:
    same = {"base": rows("base", [1, 0]), "tox": rows("tox", [0, 0])}
    refuse_other_questions(same)
    changed = {**same, "bias": rows("bias", [1, 0, 1])}

    with pytest.raises(Rejected, match="benchmark-invalid") as refused:
        refuse_other_questions(changed)
    assert "question 2" in refused.value.got


@pytest.mark.parametrize("value", ["NaN", "1e999", '"1"'])
def test_a_row_without_a_finite_number_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / ROWS_FILE
    line = (
        '{"composition":"base","metrics":{"acc":%s},"question":0,"request":"r","responses":[],"target":"","task":"t"}'
    )
    path.write_text(line % "1.0" + "\n", encoding="utf-8")
    assert from_lines(BenchmarkRow, path)[0].metrics == {"acc": 1.0}
    path.write_text(line % value + "\n", encoding="utf-8")
    with pytest.raises(Rejected, match="results-invalid"):
        from_lines(BenchmarkRow, path)


def test_without_lm_eval_the_error_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compose.evaluate.benchmark.find_spec", lambda _: None)
    with pytest.raises(Rejected, match="extra-missing") as refused:
        require_lm_eval()
    assert "make benchmark" in refused.value.fix
