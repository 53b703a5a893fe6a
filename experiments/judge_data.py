"""Make the files of labelled texts that the shipped judges are fitted on, out of public data sets in a folder.

    python -m experiments.judge_data ../shared/data --out /tmp/labelled
    compose judge fit --kind toxicity --data /tmp/labelled/toxicity.jsonl --out HEADS
    compose judge fit --kind refusal --data /tmp/labelled/refusal.jsonl --out HEADS
    compose judge fit --kind harm --data /tmp/labelled/harm.jsonl --test /tmp/labelled/harm_xstest.jsonl --out HEADS
    compose judge card toxicity_linear --data /tmp/labelled/tweets.jsonl
    compose judge card profanity --data /tmp/labelled/toxicity.jsonl --json > HEADS/profanity.json
    compose judge card refusal_phrases --data /tmp/labelled/answers.jsonl --json > HEADS/refusal_phrases.json
    compose judge card gendered_words --data /tmp/labelled/gendered.jsonl --json > HEADS/gendered_words.json

The folder holds `rtp` (RealToxicityPrompts rows with Perspective's scores), `tdavidson` (labelled tweets),
`xstest_completions`, `gptfuzz_labeled_responses`, `jbb_completions_llamaguard2`, `debiaswe` (words and professions with
gender labels) and `gender_debias_llms` (inputs that their makers call neutral), each as its makers publish it. A text
that comes twice is kept once, the first time; one with two labels not at all.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from compose import durable
from compose.errors import exit_status
from compose.evaluate.judges import Judge, Judged, make_judge

GUESS = 0.1
"""What a guessed label counts for, beside one that people gave."""
JAILBROKEN = 0.1
"""What a GPTFuzz reply counts for in a fit of harm, beside one to JailbreakBench: there are four of it, of other models
under other attacks, and at equal weight they cost JailbreakBench .03 of kappa."""
QUESTION_SETS = 5
HARMLESS = {
    "harmless_baseline_evaluations": "harmless requests, answered",
    "harmless_actadd_evaluations": "harmless requests, refused",
}
"""Files of replies to harmless requests, by what the models were made to do (for a few replies it failed)."""
REFUSAL = {"1_full_compliance": 0.0, "2_full_refusal": 1.0, "3_partial_refusal": 0.5}
ADDRESS = re.compile(r"@\w+|https?://\S+|&#?\w+;")


class Row(NamedTuple):
    """A labelled text: what it should score from 0 to 1, and what it has in common with others."""

    text: str
    target: float
    group: str
    weight: float = 1.0


class Reply(NamedTuple):
    """A labelled reply, and what it answers: replies to one request are alike.

    Its target is no guess whatever it weighs, so `sure` is always "yes". See `labelled.Labelled` for the others.
    """

    text: str
    target: float
    group: str
    weight: float
    asked: str
    set: str
    sure: str = "yes"


AnyRow: TypeAlias = Row | Reply


def toxicity(folder: Path) -> Iterator[Row]:
    """Yield prompts and continuations of RealToxicityPrompts; the two halves of a row are one group."""
    with (folder / "rtp" / "rtp_3000.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            for half in ("prompt", "continuation"):
                if row[half]["toxicity"] is not None:
                    yield Row(row[half]["text"], row[half]["toxicity"], f"{row['filename']} {row['begin']}")


def tweets(folder: Path) -> Iterator[Row]:
    """Yield Davidson's tweets without addresses: hate speech and offensive language are 1, neither is 0."""
    with (folder / "tdavidson" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Row(ADDRESS.sub(" ", row["tweet"]), float(row["class"] != "2"), "")


def refusal(folder: Path) -> Iterator[Row]:
    """Yield replies to XSTest prompts that people labelled, and then those of others with guessed labels."""
    yield from refused(folder)
    yield from guessed_refusals(folder)


def answers(folder: Path) -> Iterator[Row]:
    """Yield the labelled replies of `refusal` the other way round: 1 for an answer, as judges of refusals score."""
    for row in refused(folder):
        yield row._replace(target=1 - row.target)


def refused(folder: Path) -> Iterator[Row]:
    """Yield replies to XSTest prompts, grouped by the model that gave them; people labelled them."""
    for row in _xstest(folder):
        yield Row(row["completion"], REFUSAL[row["final_label"]], row["model"])


def guessed_refusals(folder: Path) -> Iterator[Row]:
    """Yield replies of other models whose label is a guess, to widen what refusals sound like (no prompt of XSTest's).

    A refusal has a listed phrase and did no harm by its own labels; an answer has none, and was harmful or an answer to
    a harmless request. JailbreakBench's Llama-2 is left out, for XSTest has two of them. GPTFuzz does not say who
    replied: relatives of a left-out model may have been seen, with a guess for a label.
    """
    for path in sorted((folder / "jbb_completions_llamaguard2").glob("*.json")):
        if path.name.startswith("llama-2"):
            continue
        for row in json.loads(path.read_text(encoding="utf-8"))["completions"]:
            refuses = _refuses(row["response"])
            if refuses or row["is_jailbreak_substring_matching"]:
                yield Row(row["response"], float(refuses), "guessed", GUESS)
    for row in _jailbroken(folder):
        refuses = _refuses(row["Response"])
        if refuses != (row["label"] == "1"):
            yield Row(row["Response"], float(refuses), "guessed", GUESS)


def harm(folder: Path) -> Iterator[Reply]:
    """Yield replies of five models to harmful requests and to harmless ones, and replies of jailbroken models.

    JailbreakBench's are labelled by LlamaGuard-2, GPTFuzz's by people; what was asked in the harmless ones is harmless.
    A group is a model, or a fifth of GPTFuzz's questions.
    """
    for path in sorted((folder / "jbb_completions_llamaguard2").glob("*.json")):
        model, _, run = path.stem.partition("__")
        harmless = HARMLESS.get(run)
        for row in json.loads(path.read_text(encoding="utf-8"))["completions"]:
            target = 0.0 if harmless else float(row["is_jailbreak_llamaguard2"])
            yield Reply(row["response"], target, model, 1.0, row["prompt"], harmless or "JailbreakBench")
    for row in _jailbroken(folder):
        group = f"GPTFuzz, questions {int(row['question']) % QUESTION_SETS} mod {QUESTION_SETS}"
        # A group holds every reply to its questions: there is nothing else to leave out.
        yield Reply(row["Response"], float(row["label"]), group, JAILBROKEN, "", "GPTFuzz")


def harm_xstest(folder: Path) -> Iterator[Row]:
    """Yield full answers to XSTest's requests: 0 for its safe ones, which sound harmful, and 1 for their contrasts."""
    for row in _xstest(folder):
        if REFUSAL[row["final_label"]] == 0:
            yield Row(row["completion"], float(row["type"].startswith("contrast")), row["model"])


def gendered(folder: Path) -> Iterator[Row]:
    """Yield words that people labelled, each in a sentence, and neutral inputs: 1 for what names a gender, else 0.

    The words that Bolukbasi et al. 2016 (1607.06520) chose as gender-specific are 1. Of their professions, those that
    people rated at least half-way to a gender *by definition* are 1, those within a tenth of none are 0, and the others
    are left out.
    """
    words = json.loads((folder / "debiaswe" / "gender_specific_seed.json").read_text(encoding="utf-8"))
    for word in words:
        yield Row(_spoken(word), 1.0, "words")
    professions = json.loads((folder / "debiaswe" / "professions.json").read_text(encoding="utf-8"))
    for word, by_definition, _stereotype in professions:
        if word not in words and not 0.1 < abs(by_definition) < 0.5:
            yield Row(_spoken(word), float(abs(by_definition) >= 0.5), "professions")
    for line in (folder / "gender_debias_llms" / "templates_200.txt").read_text(encoding="utf-8").splitlines():
        yield Row(line.strip(), 0.0, "inputs")


def _xstest(folder: Path) -> Iterator[dict[str, str]]:
    """Yield replies to XSTest's prompts as their file has them, and the model that gave each under `model`."""
    for path in sorted((folder / "xstest_completions").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {**row, "model": path.stem.rpartition("_")[2]}


def _jailbroken(folder: Path) -> Iterator[dict[str, str]]:
    """Yield GPTFuzz's replies as their files have them."""
    for name in ("train.csv", "evaluate.csv"):
        path = folder / "gptfuzz_labeled_responses" / name
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield from csv.DictReader(file)


def _spoken(word: str) -> str:
    return f"They were speaking of the word {word.replace('_', ' ').lower()}."


@cache
def _phrases() -> Judge:
    return make_judge("refusal_phrases")


def _refuses(reply: str) -> bool:
    (score,) = _phrases().score([Judged("", reply)])
    return score == 0.0


FILES: Mapping[str, Callable[[Path], Iterator[AnyRow]]] = MappingProxyType(
    {
        "toxicity": toxicity,
        "tweets": tweets,
        "refusal": refusal,
        "answers": answers,
        "gendered": gendered,
        "harm": harm,
        "harm_xstest": harm_xstest,
    }
)
"""Every file that is made, by the stem of its name."""


def once(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """Return rows with words, each text once; a text with two labels is left out."""
    first: dict[str, AnyRow] = {}
    contradicted = set()
    for row in rows:
        key = " ".join(row.text.casefold().split())
        if key and first.setdefault(key, row).target != row.target:
            contradicted.add(key)
    return [row for key, row in first.items() if key not in contradicted]


def make(folder: Path, out: Path) -> Mapping[str, int]:
    """Return how many rows each file got; the files are written to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, read in FILES.items():
        rows = once(read(folder))
        lines = (json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
        durable.write_text(out / f"{name}.jsonl", "".join(lines))
        counts[name] = len(rows)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 when data are missing."""
    parser = argparse.ArgumentParser(prog="python -m experiments.judge_data", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with the data sets, each in a folder of its own")
    parser.add_argument("--out", type=Path, required=True, help="where the files go")
    arguments = parser.parse_args(argv)

    def work() -> None:
        for name, rows in make(arguments.data, arguments.out).items():
            print(f"{arguments.out / name}.jsonl: {rows} texts")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
