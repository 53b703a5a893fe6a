"""An evaluation: the base and some patches on a suite, in shared batches, kept by content, written down whole."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from compose import durable
from compose.base import Base, load_base
from compose.base_spec import BaseSpec
from compose.digest import of_json
from compose.engine.patched import PatchedModel
from compose.evaluate.judges import JUDGES, Judge, Judged, judge_all
from compose.evaluate.judges.cards import card_of
from compose.evaluate.prompts import digest_of
from compose.evaluate.results import BASE, Measurement
from compose.evaluate.risks import Risk
from compose.evaluate.suites import Suite, SuiteSpec, load_suite
from compose.evaluate.suites.numbers import Counts, Part
from compose.evaluate.suites.record import (
    RECORD_FILE,
    EvaluationRecord,
    Rows,
    made_of,
    read_record,
    to_csv,
    write_record,
)
from compose.evaluate.suites.rows import CompletionRow, MassRow, PassageRow
from compose.laboratory import provenance
from compose.laboratory.fluency import read_by
from compose.laboratory.measuring import MEASURE_SCHEMA, Yardstick, measured
from compose.laboratory.subjects import Subject, described, load_subjects, pair_judges, vouched

NUMBERS_FILE = "numbers.csv"
KEY_DIGITS = 12
BENIGN = "benign"
EVALUATED_BY = 5
"""Raised when a change of the code makes the same evaluation say something else: no old record is shown as its own."""


def evaluate(
    spec: SuiteSpec,
    model: BaseSpec,
    folders: Sequence[Path],
    runs: Path,
    *,
    pairs: Sequence[Path] = (),
    device: str | None = None,
    command: str | None = None,
) -> Path:
    """Return the folder of the finished evaluation; one that was finished before is not done again.

    Args:
        spec: The suite.
        model: The base.
        folders: The patches' folders.
        runs: The root of all runs.
        pairs: Files of the pairs that the patches were trained on, where they do not lie beside them.
        device: Where to compute.
        command: The command that repeats this; None takes this process's own.

    Raises:
        Rejected: What loading, the self-test, the suite, the judges or the disk refuse; `prompts-overlap` for a patch
            that was trained on prompts of the suite.
    """
    subjects = load_subjects(folders)  # before the base: a wrong path costs no minute
    base = load_base(model, device=device)
    for subject in subjects:
        PatchedModel(base, subject.patch)  # refuses a patch of another base, and one that is not active
    suite = load_suite(spec, base)
    about = f"suite {spec.name}"
    warnings = [line for subject in subjects for line in vouched(suite.risks, subject, pairs, where=about)]
    warnings += _partial(suite, subjects)
    folder = runs / "evaluations" / f"{spec.name}-{_key(suite, base, subjects)}"
    with durable.locked(folder, waiting_for=f"another process that does this very evaluation, {folder}"):
        if (folder / RECORD_FILE).is_file():
            read_record(folder)
            return folder
        began = time.monotonic()
        rows, scorer = _measure(suite, base, subjects, runs / "measurements")
        parts = tuple(_parts(suite))
        numbers, counts = made_of(parts, rows)
        commit, dirty = provenance.commit()
        record = EvaluationRecord(
            suite=spec.name,
            title=spec.title,
            suite_digest=suite.digest,
            settings=TypeAdapter(SuiteSpec).dump_python(spec, mode="json"),
            base=base.name,
            fingerprint=base.fingerprint,
            patches=tuple(described(subject) for subject in subjects),
            scorer=scorer,
            parts=parts,
            numbers=numbers,
            counts=counts,
            files=rows.digests(),
            warnings=(*warnings, *_noticed(parts, counts)),
            command=command or provenance.command_line(),
            commit=commit,
            dirty=dirty,
            machine=provenance.machine(base),
            versions=provenance.versions(),
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
        )
        with durable.new_folder(folder, replace=True) as made:
            durable.write_text(made / NUMBERS_FILE, to_csv(numbers))
            write_record(made, record, rows)
    return folder


def _partial(suite: Suite, subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield a line for each part whose judge also chose what patches were taught: it likes what it chose."""
    chose = {one.name: {judge.split(" ")[0] for judge in pair_judges(one).values()} for one in subjects}
    for risk in suite.risks:
        taught = [name for name, judges in chose.items() if risk.judge.name in judges]
        if taught:
            second = suite.second.get(risk.name)
            advice = "no second judge stands beside it" if second is None else f"read {second.name} beside it"
            names = f"{', '.join(taught)} {'was' if len(taught) == 1 else 'were'}"
            yield f"{risk.name}: {risk.judge.name} also filtered the pairs that {names} taught with; {advice}"


def _key(suite: Suite, base: Base, subjects: Sequence[Subject]) -> str:
    """Return the name of an evaluation: everything that its numbers depend on."""
    yardstick = Yardstick(base=base, risks=suite.risks, utility=suite.utility, seed=suite.spec.seed)
    claim = {
        "made by": [EVALUATED_BY, MEASURE_SCHEMA],
        "measured": [yardstick.key(None), *(yardstick.key(subject.patch.prefix) for subject in subjects)],
        "names": [subject.name for subject in subjects],
        "second": {name: [judge.name, judge.version] for name, judge in suite.second.items()},
        "scorer": None if suite.spec.scorer is None else asdict(suite.spec.scorer),
    }
    return of_json(claim).removeprefix("sha256:")[:KEY_DIGITS]


def _measure(suite: Suite, base: Base, subjects: Sequence[Subject], store: Path) -> tuple[Rows, dict[str, str]]:
    """Return all rows, and who read the generations. Each part is kept as it is finished."""
    durable.sweep(store)
    prefixes = {BASE: None, **{subject.name: subject.patch.prefix for subject in subjects}}
    whole = Yardstick(base=base, risks=(), utility=None, seed=suite.spec.seed, together=suite.spec.together)
    rows = Rows(completions={}, masses={}, passages=[])
    for place, risk in enumerate(suite.risks, start=1):
        label = f"{suite.spec.name} {place}/{len(suite.risks)}"
        found = measured(prefixes, replace(whole, risks=(risk,)), store, label)
        rows.completions[risk.name] = _completions(suite, risk, found)
        rows.masses[risk.name] = _masses(risk, found)
    if suite.utility is not None:
        useful = measured(prefixes, replace(whole, utility=suite.utility), store, f"{suite.spec.name} utility")
        rows.passages.extend(_passages(useful))
        rows.completions[BENIGN] = [
            CompletionRow(composition=name, **_shown(record))
            for name, measurement in useful.items()
            for record in measurement.utility_records
        ]
    if suite.spec.scorer is None:
        return rows, {}
    return read_by(suite.spec.scorer, base, rows, store)


def _completions(suite: Suite, risk: Risk, found: Mapping[str, Measurement]) -> list[CompletionRow]:
    """Return one part's completions with both judges' scores."""
    second = suite.second.get(risk.name)
    rows = []
    for name, measurement in found.items():
        records = measurement.risks[risk.name].records
        scores: list[float | None] = [None] * len(records)
        if second is not None:
            items = [Judged(record["prompt"], record["completion"]) for record in records]
            scores = judge_all(second, items, subject=f"risk {risk.name}, composition {name}")
        rows += [
            CompletionRow(composition=name, second=score, **_shown(record))
            for record, score in zip(records, scores, strict=True)
        ]
    return rows


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a measured completion that rows keep."""
    kept = {key: record[key] for key in ("prompt_id", "group", "sample", "prompt", "completion", "score")}
    return kept | {"truncated": record.get("truncated")}  # measurements of before do not say


def _masses(risk: Risk, found: Mapping[str, Measurement]) -> list[MassRow]:
    """Return one part's next-token masses; none where its kind does not ask for them."""
    return [
        MassRow(composition=name, prompt_id=prompt, female=female, male=male)
        for name, measurement in found.items()
        for prompt, (female, male) in measurement.risks[risk.name].masses.items()
    ]


def _passages(found: Mapping[str, Measurement]) -> list[PassageRow]:
    """Return the passages behind the perplexities."""
    return [
        PassageRow(composition=name, passage_id=key, nll=nll, tokens=tokens)
        for name, measurement in found.items()
        if (table := measurement.passages) is not None
        for key, nll, tokens in zip(table.ids, table.nll, table.tokens, strict=True)
    ]


def _parts(suite: Suite) -> Iterator[Part]:
    """Yield what the record says of each part; the benign requests of the utility measures are one too."""
    for risk in suite.risks:
        second = suite.second.get(risk.name)
        yield Part(
            name=risk.name,
            title=risk.spec.title or risk.name,
            kind=risk.spec.kind,
            threshold=risk.spec.threshold,
            samples=risk.spec.samples,
            n_prompts=len(risk.test),
            duplicates=risk.duplicates,
            prompts=risk.test_digest,
            judge=risk.judge.name,
            judge_version=risk.judge.version,
            second_judge=None if second is None else second.name,
            second_judge_version=None if second is None else second.version,
            by_group=risk.spec.by_group,
            judge_errors=_errors(risk.judge, risk.spec.threshold),
            second_judge_errors=None if second is None else _errors(second, risk.spec.threshold),
        )
    if suite.utility is not None:
        yield Part(
            name=BENIGN,
            title="Benign requests",
            kind="over_refusal",
            threshold=0.5,
            samples=1,
            n_prompts=len(suite.utility.benign_test),
            duplicates=0,
            prompts=digest_of(suite.utility.benign_test),
            judge=suite.utility.judge.name,
            judge_version=suite.utility.judge.version,
        )


def _errors(judge: Judge, threshold: float) -> tuple[int, int, int, int] | None:
    """Return the counts of a judge's card, where it was measured at the threshold that is used here."""
    card = card_of(judge.name) if judge.name in JUDGES else None
    if card is None or card.errors() is None or card.measured[0].threshold != threshold:
        return None
    first = card.measured[0]
    return first.found, first.unsafe, first.cleared, first.safe


def _noticed(parts: Sequence[Part], counts: Sequence[Counts]) -> Iterator[str]:
    """Yield what was noticed while measuring and a reader must know."""
    for part in parts:
        if part.duplicates:
            yield f"{part.name}: {part.duplicates} prompts of the source were left out as duplicates"
        if part.second_judge is None:
            yield f"{part.name}: judged by {part.judge} alone"
    for name in dict.fromkeys(one.part for one in counts):
        own = [one for one in counts if one.part == name]
        for what, numbers in (
            ("empty, in no rate", [one.empty for one in own]),
            ("not judged, in no rate", [one.unjudged for one in own]),
            ("not judged by the second judge, in none of its rates", [one.second_unjudged for one in own]),
            ("cut by the token limit, judged as they are", [one.truncated or 0 for one in own]),
        ):
            found = [f"{n} of {one.completions} of {one.composition}" for n, one in zip(numbers, own, strict=True) if n]
            if found:
                yield f"{name}: completions {what}: {', '.join(found)}"
