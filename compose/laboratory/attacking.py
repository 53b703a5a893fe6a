"""A measurement under attack: base and patches on the same requests with the same budget, kept by content."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from compose import durable
from compose.artifact import Patch
from compose.base import Base, arithmetic, load_base, stop_ids
from compose.base_spec import BaseSpec
from compose.digest import of_json
from compose.engine.patched import PatchedModel
from compose.evaluate.attacks import Attack
from compose.evaluate.attacks.attempt import AttemptRow, attempt
from compose.evaluate.attacks.rates import AttackCounts, rates_of
from compose.evaluate.attacks.record import RECORD_FILE, AttackRecord, digest_of_rows, read_record, write_record
from compose.evaluate.attacks.spec import AttackSpec
from compose.evaluate.attacks.target import System
from compose.evaluate.judges import Judge, make_judge, silent
from compose.evaluate.prompts import Prompt, digest_of
from compose.evaluate.results import BASE
from compose.evaluate.risks import Risk, load_risk
from compose.laboratory import provenance
from compose.laboratory.subjects import Subject, described, load_subjects, vouched
from compose.progress import bar

KEY_DIGITS = 12
ATTACKED_BY = 1
"""Raised when a change of the code makes the same attack reach something else: no old attempt is then used."""
_ROW = TypeAdapter(AttemptRow)


@dataclass(frozen=True)
class Siege:
    """All that an attempt depends on, beside who is attacked and with which request."""

    spec: AttackSpec
    attack: Attack
    base: Base
    risk: Risk
    second: Judge | None

    def key(self, patch: Patch | None, request: Prompt) -> str:
        """Return the name of one attempt: a digest of everything that it depends on."""
        spec = self.spec
        judges = [[judge.name, judge.version] for judge in (self.risk.judge, self.second) if judge is not None]
        claim = {
            "made by": ATTACKED_BY,
            "attack": [self.attack.name, self.attack.version, TypeAdapter(type(spec.attack)).dump_python(spec.attack)],
            "base": [self.base.fingerprint, *arithmetic(self.base), sorted(stop_ids(self.base))],
            "prefix": None if patch is None else patch.card.prefix,
            "judges": judges,
            "replies": [asdict(self.risk.spec.sampling), self.risk.spec.threshold],
            "request": [request.id, request.text, request.chat],
            "budget": spec.budget,
            "seed": spec.seed,
        }
        return of_json(claim).removeprefix("sha256:")


def attack(
    spec: AttackSpec,
    model: BaseSpec,
    folders: Sequence[Path],
    runs: Path,
    *,
    pairs: Sequence[Path] = (),
    device: str | None = None,
    command: str | None = None,
) -> Path:
    """Return the folder of the finished measurement; one that was finished before is not done again.

    Every attempt is kept as it ends, so an interruption loses one, and the base is attacked once for all patches.

    Args:
        spec: The settings.
        model: The base.
        folders: The patches' folders.
        runs: The root of all runs.
        pairs: Files of the pairs that the patches were trained on, where they do not lie beside them.
        device: Where to compute.
        command: The command that repeats this; None takes this process's own.

    Raises:
        Rejected: What loading, the self-test, the prompts, the judges, an attacker's server or the disk refuse;
            `prompts-overlap` for a patch that was trained on one of the requests; `judge-silent` when no reply of a
            system could be judged.
    """
    subjects = load_subjects(folders)  # before the base: a wrong path costs no minute
    made = spec.attack.make()
    base = load_base(model, device=device)
    for subject in subjects:
        PatchedModel(base, subject.patch)  # refuses a patch of another base, and one that is not active
    risk = load_risk(spec.risk)
    risk = replace(risk, test=risk.test[: spec.requests])
    warnings = [line for one in subjects for line in vouched([risk], one, pairs, where=f"attack {spec.name}")]
    second = None if spec.second_judge is None else make_judge(spec.second_judge)
    siege = Siege(spec, made, base, risk, second)
    folder = runs / "attacks" / f"{spec.name}-{_folder_key(siege, subjects)}"
    with durable.locked(folder, waiting_for=f"another process that does this very measurement, {folder}"):
        if (folder / RECORD_FILE).is_file():
            read_record(folder)
            return folder
        began = time.monotonic()
        rows = _attempts(siege, subjects, runs / "attempts")
        record = _record(siege, subjects, rows, warnings, command, time.monotonic() - began)
        with durable.new_folder(folder, replace=True) as fresh:
            write_record(fresh, record, rows)
    return folder


def _folder_key(siege: Siege, subjects: Sequence[Subject]) -> str:
    """Return the name of a measurement: everything that its rates depend on."""
    patches: dict[str, Patch | None] = {BASE: None, **{subject.name: subject.patch for subject in subjects}}
    claim = {name: [siege.key(patch, one) for one in siege.risk.test] for name, patch in patches.items()}
    return of_json(claim).removeprefix("sha256:")[:KEY_DIGITS]


def _attempts(siege: Siege, subjects: Sequence[Subject], store: Path) -> list[AttemptRow]:
    """Return every attempt, from the folder or made now.

    Raises:
        Rejected: `judge-silent` when no reply of a system could be judged.
    """
    durable.sweep(store)
    patches: Mapping[str, Patch | None] = {BASE: None, **{subject.name: subject.patch for subject in subjects}}
    rows: list[AttemptRow] = []
    with bar(len(patches) * len(siege.risk.test), f"attack {siege.spec.name}", unit="request") as progress:
        for name, patch in patches.items():
            system = System.of(siege.base, patch, siege.risk)
            own = []
            for request in siege.risk.test:
                own.append(_one(siege, name, patch, system, request, store))
                progress.update(1)
            if all(row.score is None for row in own):
                replies = sum(row.replies for row in own)
                raise silent(siege.risk.judge, name, "scores from 0 to 1", f"none in {replies} replies")
            rows += own
    return rows


def _one(siege: Siege, name: str, patch: Patch | None, system: System, request: Prompt, store: Path) -> AttemptRow:
    """Return one attempt, kept under its key; a kept one of another name is the same attempt."""
    path = store / f"{siege.key(patch, request)}.json"
    try:
        return replace(_ROW.validate_python(json.loads(path.read_bytes())), composition=name, group=request.group)
    except (FileNotFoundError, ValueError, ValidationError):
        pass  # none, or a damaged one, which costs one more
    spec = siege.spec
    row = attempt(
        siege.attack,
        system,
        request,
        composition=name,
        budget=spec.budget,
        seed=spec.seed,
        second=siege.second,
    )
    durable.write_json(path, _ROW.dump_python(row, mode="json"))
    return row


def _record(
    siege: Siege,
    subjects: Sequence[Subject],
    rows: Sequence[AttemptRow],
    warnings: Sequence[str],
    command: str | None,
    seconds: float,
) -> AttackRecord:
    """Return what is written down."""
    spec, risk, second = siege.spec, siege.risk, siege.second
    rates, counts = rates_of(rows, risk.spec.threshold, risk.judge.name, None if second is None else second.name)
    commit, dirty = provenance.commit()
    return AttackRecord(
        attack=spec.name,
        title=spec.title,
        method=siege.attack.name,
        method_version=siege.attack.version,
        budget=spec.budget,
        settings=TypeAdapter(AttackSpec).dump_python(spec, mode="json"),
        requests=digest_of(risk.test),
        base=siege.base.name,
        fingerprint=siege.base.fingerprint,
        patches=tuple(described(subject) for subject in subjects),
        judge=risk.judge.name,
        judge_version=risk.judge.version,
        second_judge=None if second is None else second.name,
        second_judge_version=None if second is None else second.version,
        threshold=risk.spec.threshold,
        rates=rates,
        counts=counts,
        rows=digest_of_rows(rows),
        warnings=(*warnings, *_noticed(counts)),
        command=command or provenance.command_line(),
        commit=commit,
        dirty=dirty,
        machine=provenance.machine(siege.base),
        versions=provenance.versions(),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
    )


def _noticed(counts: Sequence[AttackCounts]) -> list[str]:
    """Return what was noticed while measuring and a reader must know."""
    lines = []
    for one in counts:
        if one.unjudged_requests:
            lines.append(
                f"{one.composition}: no reply was judged for {one.unjudged_requests} of {one.requests} requests; "
                "they are in no rate"
            )
        for n, what in ((one.empty, "empty"), (one.unjudged, "not judged"), (one.truncated, "cut by the token limit")):
            if n:
                lines.append(f"{one.composition}: {n} of {one.replies} replies {what}")
        if one.unusable:
            lines.append(f"{one.composition}: {one.unusable} of {one.proposals} proposals could not be asked")
    return lines
