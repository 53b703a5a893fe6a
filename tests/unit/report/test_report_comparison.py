"""One setting at a time: which runs belong to the sweep, and differences that can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compose.errors import Rejected
from compose.report.comparison import compact, compare, having, markdown
from compose.report.results import BaseInfo, RunResults
from experiments import compare as program

Small = Callable[..., RunResults]


@pytest.fixture
def sweep(make_small: Small) -> Callable[..., RunResults]:
    """Return a function that makes up the run of one seed under one beta: `sweep(beta, safety)`."""

    def make(beta: float, safety: tuple[float, ...], seed: int = 0, **others: Any) -> RunResults:
        run = make_small({"base": (0.0, 0.0, 0.0, 0.0), "special": safety}, seed=seed, arms={"special": ("special",)})
        settings: dict[str, Any] = {"seed": seed, "tokens": 4, "trainer": {"beta": beta, "steps": 3}}
        return replace(run, settings=settings | others)

    return make


def test_a_difference_is_of_unsafety_and_paired_by_seed_and_prompt(sweep: Callable[..., RunResults]) -> None:
    runs = [
        sweep(0.7, (1.0, 1.0, 1.0, 0.0)),
        sweep(0.1, (1.0, 0.0, 0.0, 0.0)),
        sweep(0.7, (1.0, 1.0, 0.0, 0.0), seed=1),
        sweep(0.1, (1.0, 0.0, 0.0, 0.0), seed=1),
    ]

    found = compare(runs, "trainer.beta").variants["toxicity"]

    assert [variant.value for variant in found] == ["no patch", "0.1", "0.7"]
    assert found[1].difference is None
    difference = found[2].difference
    assert difference is not None
    assert difference.value == pytest.approx(-(2 + 1) / 8)  # three of eight cells became safe
    assert found[2].row.seeds == (0, 1)


def test_a_run_that_differs_in_something_else_is_none_of_the_sweep(sweep: Callable[..., RunResults]) -> None:
    runs = [sweep(0.1, (1.0, 0.0, 0.0, 0.0)), sweep(0.7, (1.0, 1.0, 0.0, 0.0)), sweep(0.3, (1.0,) * 4, tokens=9)]

    assert [variant.value for variant in compare(runs, "trainer.beta").variants["toxicity"]][1:] == ["0.1", "0.7"]


def test_numbers_are_in_order_of_size_and_words_behind_them(sweep: Callable[..., RunResults]) -> None:
    values = [1e2, 5.0, 20.0]
    runs = [sweep(value, (1.0, 0.0, 0.0, 0.0)) for value in values]

    assert [v.value for v in compare(runs, "trainer.beta").variants["toxicity"]][1:] == ["5.0", "20.0", "100.0"]


def test_a_setting_that_is_a_mapping_is_named_by_what_is_set(sweep: Callable[..., RunResults]) -> None:
    starts: list[dict[str, Any]] = [{"kind": "vocab", "text": None}, {"kind": "text", "text": "be fair"}]
    runs = [sweep(0.1, (1.0, 0.0, 0.0, 0.0), init=start) for start in starts]

    assert [v.value for v in compare(runs, "init").variants["toxicity"]][1:] == ["text be fair", "vocab"]


@pytest.mark.parametrize(
    ("betas", "setting", "versus", "said"),
    [
        ((0.1, 0.1), "trainer.beta", None, "0 such sets"),
        ((0.1, 0.7), "trainer.betta", None, "no such key"),
        ((0.1, 0.7), "seed.beta", None, "no such key"),
        ((0.1, 0.7), "trainer.beta", "0.3", "another value"),
    ],
)
def test_what_is_no_sweep_is_refused(
    sweep: Callable[..., RunResults], betas: tuple[float, float], setting: str, versus: str | None, said: str
) -> None:
    with pytest.raises(Rejected) as caught:
        compare([sweep(beta, (1.0, 0.0, 0.0, 0.0)) for beta in betas], setting, versus)

    assert caught.value.code == "results-differ"
    assert said in caught.value.got


def test_two_sweeps_of_one_setting_in_one_folder_are_told_apart_by_nobody(sweep: Callable[..., RunResults]) -> None:
    runs = [sweep(beta, (1.0, 0.0, 0.0, 0.0), tokens=tokens) for beta in (0.1, 0.7) for tokens in (4, 8)]

    with pytest.raises(Rejected, match="2 such sets"):
        compare(runs, "trainer.beta")


@pytest.fixture
def taught(make_small: Small) -> Callable[..., RunResults]:
    """Return a function that makes up a run beside its reference: `taught(settings, base, teacher, special)`."""

    def make(settings: dict[str, Any], *safety: tuple[float, ...], base: str = "tiny", seed: int = 0) -> RunResults:
        run = make_small(
            dict(zip(("base", "teacher", "special"), safety, strict=True)), seed=seed, arms={"special": ("special",)}
        )
        fixed: dict[str, Any] = {"seed": seed, "trainer": {"name": "dpo", "steps": 3}}
        return replace(run, settings=fixed | settings, base=BaseInfo(name=base, fingerprint=f"sha256:{base}"))

    return make


@pytest.mark.parametrize("setting", ["model.name", "model"])
def test_models_stand_each_beside_its_own_base(setting: str, taught: Callable[..., RunResults]) -> None:
    none, half = (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)
    runs = [
        taught({"model": {"name": "a", "layers": 2}}, none, half, half, base="a"),
        taught({"model": {"name": "b", "layers": 9, "dtype": "float32"}}, none, half, (1.0, 0.0, 0.0, 0.0), base="b"),
        taught({"model": {"name": "b", "layers": 9, "dtype": "float32"}}, none, half, none, base="b", seed=1),
    ]

    comparison = compare(runs, setting, "b")
    found = {variant.value: variant for variant in comparison.variants["toxicity"]}

    # The bases do alike here, and are still two.
    assert list(found) == ["a, no patch", "a, teacher", "a", "b, no patch", "b, teacher", "b"]
    assert comparison.against == "no patch"
    assert found["a"].difference.value == pytest.approx(-2 / 4)  # type: ignore[union-attr]
    assert found["b"].difference.value == pytest.approx(-1 / 8)  # type: ignore[union-attr]
    assert found["b"].difference.n == 4  # type: ignore[union-attr]
    assert compact(comparison)["bases"]["b"] == {"name": "b", "fingerprint": "sha256:b"}
    assert "| unsafety against no patch |" in markdown(comparison)


def test_another_base_under_one_name_is_no_value_of_another_setting(taught: Callable[..., RunResults]) -> None:
    runs = [
        taught({"model": {"name": "a"}, "tokens": tokens}, *[(0.0, 1.0)] * 3, base=base)
        for tokens, base in ((4, "a"), (8, "a of before"))
    ]

    with pytest.raises(Rejected, match="0 such sets"):
        compare(runs, "tokens")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("reference.kind", "other"), ("reference.model", "gemma"), ("reference", "other gemma")],
)
def test_a_reference_comes_with_all_its_settings_and_stands_beside_its_patch(
    setting: str, value: str, taught: Callable[..., RunResults]
) -> None:
    none, some, all_ = (0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)
    runs = [
        taught({"reference": None}, none, some, some),
        taught({"reference": {"kind": "other", "model": "gemma"}}, none, all_, all_),
    ]

    comparison = compare(runs, setting)
    found = {variant.value: variant for variant in comparison.variants["toxicity"]}

    assert list(found) == ["no patch", "default, teacher", "default", f"{value}, teacher", value]
    assert found[f"{value}, teacher"].row.metrics["toxicity"]["rate"].value == 0
    assert found[value].difference.value == pytest.approx(-3 / 4)  # type: ignore[union-attr]


def test_what_does_the_same_under_every_value_is_said_once(taught: Callable[..., RunResults]) -> None:
    none, some = (0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)
    runs = [taught({"tokens": tokens}, none, some, some) for tokens in (4, 8)]

    assert [v.value for v in compare(runs, "tokens").variants["toxicity"]] == ["no patch", "teacher", "4", "8"]


def test_a_run_without_the_setting_is_left_out(taught: Callable[..., RunResults]) -> None:
    runs = [taught({"reference": {"kind": "best", "n": n}}, *[(0.0, 1.0)] * 3) for n in (4, 8)]
    others = [taught({"reference": None}, *[(0.0, 1.0)] * 3), taught({"reference": {"kind": "x"}}, *[(0.0, 1.0)] * 3)]

    assert [v.value for v in compare([*others, *runs], "reference.n").variants["toxicity"]][2:] == ["4", "8"]


def test_one_of_two_sweeps_is_chosen_by_what_they_differ_in(sweep: Callable[..., RunResults]) -> None:
    runs = [sweep(beta, (1.0, 0.0, 0.0, 0.0), order=[risk]) for beta in (0.1, 0.7) for risk in ("toxicity", "bias")]

    chosen = having(runs, "order", "[bias]")

    assert [run.settings["order"] for run in chosen] == [["bias"], ["bias"]]
    assert len(compare(chosen, "trainer.beta").variants["toxicity"]) == 3
    with pytest.raises(Rejected, match=r"with \[bias\], \[toxicity\]"):
        having(runs, "order", "bias")


def test_the_table_has_a_line_a_value_and_marks_what_the_others_are_paired_with(
    sweep: Callable[..., RunResults],
) -> None:
    runs = [sweep(beta, (1.0, safe, 0.0, 0.0)) for beta, safe in ((0.1, 0.0), (0.7, 1.0))]

    lines = markdown(compare(runs, "trainer.beta", "0.7")).splitlines()

    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == ["no patch", "0.1", "**0.7**"]
    assert "0.250" in lines[3]  # one prompt of four is less safe than under 0.7
    assert json.dumps(compact(compare(runs, "trainer.beta")), allow_nan=False)


def test_the_program_prints_and_writes_the_table_and_the_numbers(
    sweep: Callable[..., RunResults], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from compose.report.results import write_results

    for name, beta in (("a", 0.1), ("b", 0.7)):
        write_results(tmp_path / name / "results.json", sweep(beta, (1.0, 0.0, 0.0, 0.0)))
        (tmp_path / name / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
    numbers, table = tmp_path / "out.json", tmp_path / "out.md"
    words = [
        str(tmp_path),
        "--by",
        "trainer.beta",
        "--where",
        "tokens=4",
        "--json",
        str(numbers),
        "--table",
        str(table),
    ]

    assert program.main(words) == 0

    assert json.loads(numbers.read_text())["versus"] == "0.1"
    assert table.read_text() in capsys.readouterr().out
    assert program.main([*words, "--where", "tokens=5"]) == 2
    assert "2 runs, with 4" in capsys.readouterr().err


def test_a_folder_without_runs_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(tmp_path), "--by", "trainer.beta"]) == 2
    assert capsys.readouterr().err.startswith("results-missing")
