"""Patches of several seeds as one line: the mean of their numbers, on the prompts that all have, and under attack."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from compose.cli import main
from compose.evaluate.attacks import record as attacks
from compose.evaluate.attacks.attempt import AttemptRow
from compose.evaluate.judges import Judged
from compose.evaluate.judges.refusal import RefusalJudge
from compose.evaluate.suites.record import read_record, read_rows
from experiments import pool

QUICK = ("risks.professions.n_train=20", "risks.professions.n_test=12", "risks.professions.sampling.max_new_tokens=4")


def evaluated(
    runs: Path,
    patches: list[Path],
    capsys: pytest.CaptureFixture[str],
    suite: tuple[str, ...] = ("gender_bias", *QUICK),
) -> Path:
    """Return the folder of an evaluation of patches; `suite` is its name and its overrides."""
    return measured(["evaluate", "--suite", *suite], runs, patches, capsys)


def attacked(runs: Path, patches: list[Path], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> Path:
    """Return the folder of attacks on patches."""
    return measured(["attack", "--attack", "gcg", *words], runs, patches, capsys)


def measured(command: list[str], runs: Path, patches: list[Path], capsys: pytest.CaptureFixture[str]) -> Path:
    named = [word for patch in patches for word in ("--patch", str(patch))]
    assert main([*command, "--model", "tiny", "--runs", str(runs), *named]) == 0
    return Path(capsys.readouterr().out.splitlines()[-1].removeprefix("record:").strip())


def test_two_seeds_are_pooled_into_their_mean(
    patch_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluated(tmp_path / "runs", [patch_folder("a", seed=1), patch_folder("b", seed=2)], capsys)
    file = tmp_path / "pooled.json"
    assert pool.main([str(folder), "--json", str(file)]) == 0

    (found,) = json.loads(file.read_text())["pooled"]
    gas = {n.composition: n.value for n in read_record(folder).numbers if n.metric == "gas" and not n.group}
    mean = (gas["a"] + gas["b"]) / 2  # type: ignore[operator]

    assert found["seeds"] == 2
    assert found["base"]["value"] == pytest.approx(gas["base"])
    assert found["patched"]["value"] == pytest.approx(mean)
    assert found["difference"]["value"] == pytest.approx(mean - gas["base"])  # type: ignore[operator]
    assert "| Professions, GAS ↓ | gendered_words |" in capsys.readouterr().out


def test_one_patch_is_no_set_of_seeds(
    patch_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluated(tmp_path / "runs", [patch_folder("a")], capsys)

    assert pool.main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-differ")


def test_refusals_of_safe_requests_stand_beside_unsafe_ones_that_are_answered(
    patch_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [
        f"Where can I buy {thing} {n}?,shop,{half}" for half in ("safe", "unsafe") for thing in "ab" for n in "123"
    ]
    (tmp_path / "xstest").mkdir()
    (tmp_path / "xstest" / "xstest_prompts.csv").write_text("prompt,type,label\n" + "\n".join(lines) + "\n")
    monkeypatch.setenv("COMPOSE_DATA", str(tmp_path))

    def refuses_in_even_lengths(judge: RefusalJudge, items: Sequence[Judged]) -> list[float | None]:
        return [float(len(one.completion) % 2) for one in items]

    monkeypatch.setattr(RefusalJudge, "score", refuses_in_even_lengths)  # the tiny base knows no words of refusal
    sizes = (
        f"risks.{half}.{size}" for half in ("safe", "unsafe") for size in ("n_test=6", "sampling.max_new_tokens=6")
    )
    patches = [patch_folder("a", seed=1), patch_folder("b", seed=2)]
    folder = evaluated(
        tmp_path / "runs", patches, capsys, ("xstest", *sizes, "second_judges={safe: null, unsafe: null}")
    )

    _, found = pool.pooled(folder)
    rows = read_rows(folder, read_record(folder)).completions

    assert [(one.part, one.metric) for one in found] == [
        ("XSTest, safe", "refusal_rate"),
        ("XSTest, unsafe", "non_refusal_rate"),
    ]
    for one, part, bad in zip(found, ("safe", "unsafe"), (0, 1), strict=True):
        share = {
            name: fmean(len(row.completion) % 2 == bad for row in rows[part] if row.composition == name)
            for name in ("base", "a", "b")
        }
        assert one.base.value == pytest.approx(share["base"])
        assert one.patched.value == pytest.approx((share["a"] + share["b"]) / 2)
    assert "| XSTest, safe, refusal rate ↓ | refusal_phrases |" in pool.markdown(found)


def test_where_all_prompts_are_alike_the_interval_is_no_point() -> None:
    (found,) = pool._over_seeds([{"p": 1.0, "q": 1.0}, {"p": 1.0, "q": 0.0}], None, part="x", metric="m", judge="j")

    # Wilson's interval of 2 of 2 begins at 1 / (1 + 1.96^2 / 2).
    assert found.base.low == pytest.approx(1 / (1 + 1.959964**2 / 2))
    assert found.base.high == 1.0
    assert (found.difference.value, found.difference.low, found.difference.high) == (-0.5, -1.0, 0.0)


@pytest.mark.parametrize(("after", "value", "low", "high"), [(1.0, 0.0, -0.3267, 0.3267), (0.0, -1.0, -1.0, -0.1677)])
def test_a_difference_that_is_the_same_everywhere_is_no_certainty(
    after: float, value: float, low: float, high: float
) -> None:
    tables = [dict.fromkeys("pqrs", one) for one in (1.0, after, after)]
    (found,) = pool._over_seeds(tables, None, part="x", metric="m", judge="j")

    # Agresti and Min: half an observation more in each cell, of 4 + 2. Of none that disagree s = 1/6 and d = 0; of four
    # d = -4/6 and s = 5/6.
    assert found.difference.value == value
    assert found.difference.low == pytest.approx(low, abs=1e-4)
    assert found.difference.high == pytest.approx(high, abs=1e-4)


def test_attacks_are_pooled_by_the_queries_that_a_success_took(
    patch_folder: Callable[..., Path], tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    patches = [patch_folder("a", seed=1), patch_folder("b", seed=2)]
    folder = attacked(tmp_path / "runs", patches, capsys, ("--budget", "9", "second_judge=null", *few))
    # Whatever the attack reached: by system, the query that broke each of the four requests; 0 for none.
    broke = {"base": (1, 1, 2, 9), "a": (1, 4, 0, 0), "b": (3, 0, 0, 0)}
    record = attacks.read_record(folder)
    rows: list[AttemptRow] = []
    for row in attacks.read_rows(folder, record):
        query = broke[row.composition][sum(one.composition == row.composition for one in rows)]
        direct, score = float(query == 1), float(query > 0)
        rows.append(replace(row, query=query or 1, direct=direct, score=score))
    attacks.write_record(folder, replace(record, rows=attacks.digest_of_rows(rows)), rows)
    file = tmp_path / "attacked.json"

    assert pool.main([str(folder), "--json", str(file)]) == 0

    written = json.loads(file.read_text())
    found = {one["queries"]: one for one in written["pooled"]}
    assert {queries: (one["base"]["value"], one["patched"]["value"]) for queries, one in found.items()} == {
        1: (2 / 4, 1 / 8),
        2: (3 / 4, 1 / 8),
        4: (3 / 4, 3 / 8),
        9: (4 / 4, 3 / 8),
    }
    assert found[9]["difference"]["value"] == -5 / 8
    assert (found[1]["metric"], found[2]["metric"]) == ("direct_success_rate", "attack_success_rate")
    assert (written["attack"], written["budget"], len(written["counts"])) == ("gcg", 9, 3)
    assert "| gcg, attack success rate ↓, 4 queries | gendered_words | 0.750" in capsys.readouterr().out


def test_the_second_judge_has_one_rate_within_the_whole_budget(
    patch_folder: Callable[..., Path], tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    patches = [patch_folder("a", seed=1), patch_folder("b", seed=2)]
    folder = attacked(tmp_path / "runs", patches, capsys, ("--budget", "4", *few))

    found = [(one.judge, one.queries) for one in pool.pooled(folder)[1]]

    first, second = "gendered_words", "refusal_linear"
    assert found == [(first, 1), (first, 2), (first, 4), (second, 4)]


def test_attempts_that_are_not_the_records_are_refused(
    patch_folder: Callable[..., Path], tmp_path: Path, few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    patches = [patch_folder("a", seed=1), patch_folder("b", seed=2)]
    folder = attacked(tmp_path / "runs", patches, capsys, ("--budget", "2", *few))
    with (folder / attacks.ROWS_FILE).open("ab") as file:
        file.write(b"\n")

    assert pool.main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("results-invalid")


def test_a_benchmark_is_pooled_over_the_questions_of_all_its_tasks(
    patch_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval", reason="the extra `benchmark` is not installed (make benchmark)")
    for split, subject, count in [("test", "anatomy", 5), ("dev", "anatomy", 1), ("test", "law", 3), ("dev", "law", 1)]:
        path = tmp_path / "mmlu" / split / f"{subject}_{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"Which {subject} is number {n}?,one,two,three,{n},{n % 4}" for n in range(count)]
        path.write_text("\n".join(["question,choice0,choice1,choice2,choice3,answer", *lines]) + "\n", encoding="utf-8")
    command = ["benchmark", "--task", "mmlu", "--data", str(tmp_path / "mmlu")]
    folder = measured(command, tmp_path / "runs", [patch_folder("a", seed=1), patch_folder("b", seed=2)], capsys)
    record, (found,) = pool.pooled(folder)

    acc = {n.composition: n.value for n in record.numbers if n.part == "all" and n.value is not None}  # type: ignore[union-attr]
    mean = (acc["a"] + acc["b"]) / 2
    assert (found.part, found.metric, found.direction, found.base.n, found.seeds) == ("mmlu", "acc", "higher", 8, 2)
    assert found.base.value == pytest.approx(acc["base"])
    assert found.patched.value == pytest.approx(mean)
    assert pool.main([str(folder), "--json", str(tmp_path / "pooled.json")]) == 0
    assert "| mmlu, acc \N{UPWARDS ARROW} |" in capsys.readouterr().out
    assert json.loads((tmp_path / "pooled.json").read_text())["settings"]["tasks"] == ["mmlu"]
