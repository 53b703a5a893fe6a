"""Evidence is about this very composition, on prompts and by judges that somebody vouches for, and leaves nothing out.

Every file that is given counts: one that does not fit denies, so that nobody can drown it in others.
"""

from __future__ import annotations

from collections.abc import Iterator

from compose.digest import hash_order
from compose.trust.claims import Finding
from compose.trust.clock import instant, moment
from compose.trust.evidence import (
    Measured,
    Passages,
    Statement,
    gate_name,
    seed_of,
)
from compose.trust.gates import decide
from compose.trust.rules.case import Case, Exhibit
from compose.trust.rules.finding import finding
from compose.trust.suites import SuitePin, ids_digest

MEASURE = "measure this very lock with `compose evaluate compose.lock`"


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for everything in which evidence does not fit."""
    for exhibit in case.exhibits:
        if exhibit.statement is not None and exhibit.statement.lock != case.digest:
            yield finding(
                "evidence-other-lock",
                subject=exhibit.name,
                expected=f"evidence about {case.digest}",
                got=f"evidence about {exhibit.statement.lock}",
                fix=f"{MEASURE}: evidence for the parts, or for an older lock, says nothing about it",
            )
    fitting = list(case.statements())
    if not fitting:
        yield finding(
            "evidence-missing",
            subject=f"composition {case.lock.name} {case.lock.version}",
            expected=f"evidence about {case.digest}, sealed by an evaluator",
            got=f"{len(case.exhibits)} files of evidence, none of them about it",
            fix=MEASURE,
        )
    for exhibit, statement in fitting:
        measured = statement.predicate.measured
        yield from _subject(case, exhibit, measured)
        yield from _time(case, exhibit, measured)
        yield from _suites(case, exhibit, measured)
        yield from _prompts(exhibit, measured, seed_of(case.digest))
        yield from _complete(exhibit, measured)
        if set(measured.members) == {patch.name for patch in case.lock.patches}:
            yield from _consistent(case, exhibit, statement)


def _subject(case: Case, exhibit: Exhibit, measured: Measured) -> Iterator[Finding]:
    """Yield a finding when something else was measured than the lock pins."""
    locked = {patch.name: patch.digest for patch in case.lock.patches}
    pairs = [
        ("evidence-other-base", "the base", case.lock.base.fingerprint, measured.base),
        ("evidence-other-patch", "the result", case.lock.result.digest, measured.composition),
        ("evidence-other-seed", "the seed", str(seed_of(case.digest)), str(measured.seed)),
    ]
    pairs += [
        ("evidence-other-patch", f"patch {name}", locked.get(name, "no such patch"), measured.members.get(name, "none"))
        for name in sorted(locked.keys() | measured.members.keys())
    ]
    for code, what, expected, got in pairs:
        if expected != got:
            yield finding(code, subject=f"{exhibit.name}: {what}", expected=expected, got=got, fix=MEASURE)


def _time(case: Case, exhibit: Exhibit, measured: Measured) -> Iterator[Finding]:
    """Yield a finding when evidence comes from the future, or is too old to count."""
    made = moment(measured.made)
    if made > case.now:
        yield finding(
            "evidence-future",
            subject=exhibit.name,
            expected=f"evidence made before {instant(case.now)}",
            got=measured.made,
            fix="set this machine's clock, or the evaluator's, and measure again",
        )
    elif case.now - made > case.max_age:
        yield finding(
            "evidence-stale",
            subject=exhibit.name,
            expected=f"evidence of the last {case.max_age.days} days",
            got=measured.made,
            fix="measure again: judges and software have moved on",
        )


def _suites(case: Case, exhibit: Exhibit, measured: Measured) -> Iterator[Finding]:
    """Yield a finding for every suite that nobody vouches for, or that was changed."""
    for name, found in measured.suites.items():
        pin = case.pins.suites.get(name)
        if pin is None:
            yield finding(
                "suite-unknown",
                subject=f"{exhibit.name}: suite {name}",
                expected=f"a suite that is pinned: {', '.join(sorted(case.pins.suites))}",
                got=f"{name}, {found.digest}",
                fix="measure on a pinned suite, or put a suites.json with its digests beside the keyring",
            )
        elif pin != found:
            yield finding(
                "evidence-other-suite",
                subject=f"{exhibit.name}: suite {name}",
                expected=f"{pin.digest} with {_parts(pin)}",
                got=f"{found.digest} with {_parts(found)}",
                fix="measure on the suite as it ships: the prompts, the samples or the judge are others",
            )
    if measured.passages is not None:
        yield from _passages(case, exhibit, measured.passages)


def _passages(case: Case, exhibit: Exhibit, passages: Passages) -> Iterator[Finding]:
    """Yield a finding for passages that nobody vouches for, and where one of them is left out.

    Their bound holds for a number of passages that was fixed beforehand: they are all read, early stopping or not.
    """
    pinned = [pin.ids for pin in case.pins.passages if pin.digest == passages.digest]
    if not pinned:
        yield finding(
            "evidence-other-suite",
            subject=f"{exhibit.name}: the neutral passages",
            expected=" or ".join(pin.digest for pin in case.pins.passages) or "passages that are pinned",
            got=passages.digest,
            fix="measure on the passages that ship, or put a suites.json with their digest beside the keyring",
        )
    elif (found := ids_digest(passages.passages)) not in pinned:
        yield finding(
            "evidence-incomplete",
            subject=f"{exhibit.name}: the neutral passages",
            expected=f"all of them and no others: ids {' or '.join(pinned)}",
            got=f"{len(passages.passages)} passages, ids {found}",
            fix=f"{MEASURE}, to the end",
        )


def _parts(pin: SuitePin) -> str:
    """Return what a suite's parts are, in one line."""
    return "; ".join(
        f"{name}: {part.n_prompts} prompts, {part.samples} samples of {part.sampling}, "
        f"{part.judge} {part.judge_version} from {part.threshold:g}, {part.prompts}"
        f"{', in groups' if part.grouped else ''}"
        for name, part in sorted(pin.parts.items())
    )


def _complete(exhibit: Exhibit, measured: Measured) -> Iterator[Finding]:
    """Yield a finding where completions are missing, and where nothing could be judged."""
    for outcome in measured.outcomes:
        part = measured.suites[outcome.suite].parts[outcome.part]
        wanted = (part.n_prompts - len(outcome.unasked)) * part.samples
        dropped = outcome.empty + outcome.unjudged
        place = f"{exhibit.name}: {outcome.suite}/{outcome.part}"
        if outcome.completions != wanted:
            yield finding(
                "evidence-incomplete",
                subject=place,
                expected=f"{wanted} completions",
                got=str(outcome.completions),
                fix=f"{MEASURE}, to the end",
            )
        if dropped == outcome.completions:
            yield finding(
                "evidence-silent",
                subject=place,
                expected="completions that say something, and a judge that judges them",
                got=f"of {outcome.completions} completions {outcome.empty} empty and {outcome.unjudged} not judged",
                fix="see that the judge can be reached and that the composition still speaks, and measure again",
            )
        elif dropped:
            yield finding(
                "evidence-unjudged",
                subject=place,
                expected=f"{outcome.completions} completions judged",
                got=f"{outcome.empty} empty and {outcome.unjudged} not judged",
                fix="a prompt without any verdict counts as the worst; see why they could not be judged",
                severity="warning",
            )


def _prompts(exhibit: Exhibit, measured: Measured, seed: int) -> Iterator[Finding]:
    """Yield a finding for every series that is not on the prompts of its part, or on those that the lock's order says.

    Where measuring stopped early, the prompts that were not asked are named too. All of them together are the part's,
    and those that were asked are the first of an order that follows from the lock: nobody picks them by their answers.
    """
    unasked = {(outcome.suite, outcome.part): outcome.unasked for outcome in measured.outcomes}
    for series in measured.series:
        part = measured.suites[series.suite].parts[series.part]
        left = unasked[series.suite, series.part]
        ids = (*series.prompts, *left)
        place = f"{exhibit.name}: {series.metric} on {series.suite}/{series.part}"
        early = measured.stopping == "sequential" and not part.grouped
        if ids_digest(ids) != part.ids or (left and not early):
            yield finding(
                "evidence-incomplete",
                subject=place,
                expected=f"the {part.n_prompts} prompts of the part and no others: ids {part.ids}",
                got=f"{len(series.prompts)} prompts and {len(left)} that were not asked: ids {ids_digest(ids)}",
                fix=f"{MEASURE}, to the end",
            )
        elif early and list(ids) != hash_order(ids, seed):
            yield finding(
                "evidence-order",
                subject=place,
                expected=f"the first {len(series.prompts)} prompts in the order of the seed {seed}, and the rest in it",
                got="prompts that were picked, or put in another order",
                fix=f"{MEASURE}: --stop-early asks in the lock's own order",
            )


def _consistent(case: Case, exhibit: Exhibit, statement: Statement) -> Iterator[Finding]:
    """Yield a finding when evidence lists other gates than the lock, or another outcome than its numbers give."""
    said = statement.predicate
    gates = {gate_name(gate): gate for gate in case.lock.gates}
    names = list(gates)
    true = [
        name
        for name, gate in gates.items()
        if all(one.verdict == "passed" for one in decide(gate, said.measured, case.lock.patches))
    ]
    fits = (
        sorted([*said.passed, *said.failed]) == sorted(names)
        and sorted(said.passed) == sorted(true)
        and said.result == ("PASSED" if len(true) == len(names) else "FAILED")
        and sorted((one.name, f"sha256:{one.digest['sha256']}") for one in said.configuration)
        == sorted((name, pin.digest) for name, pin in said.measured.suites.items())
    )
    if not fits:
        yield finding(
            "evidence-contradicts",
            subject=exhibit.name,
            expected=f"of the gates {'; '.join(names)} these passed: {'; '.join(true) or 'none'}",
            got=f"{said.result}: passed {'; '.join(said.passed) or 'none'}, failed {'; '.join(said.failed) or 'none'}",
            fix="do not trust this evaluator before you know why; measure again",
        )
