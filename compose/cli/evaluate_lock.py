"""`compose evaluate compose.lock --key evaluator`: a locked composition measured for its gates, as sealed evidence."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.keys import add_keys, passphrase
from compose.cli.text import aligned, printable
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.trust.evidence import Measured, Nearness
    from compose.trust.gates import Decision
    from compose.trust.rules.case import Case

EVIDENCE_FILE = Path("evidence.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `evaluate` has for a lock."""
    lock = parser.add_argument_group("of a lock")
    lock.add_argument("--key", metavar="NAME", help="evaluator's key that seals the evidence")
    lock.add_argument(
        "--stop-early",
        action="store_true",
        help="ask a part of a suite until its gates are settled: fewer prompts, by wider bounds that hold at any time",
    )
    add_keys(parser)
    lock.add_argument("--store", type=Path, default=Path("store"), metavar="DIR", help="the store (default: store)")
    lock.add_argument(
        "--out", type=Path, default=EVIDENCE_FILE, metavar="FILE", help=f"where it goes (default: {EVIDENCE_FILE})"
    )


def run(path: Path, arguments: argparse.Namespace) -> int:
    """Return 0 once evidence is written in which every gate is passed, 1 when one is not.

    Args:
        path: The lock.
        arguments: The words of the command line.

    Raises:
        Rejected: `lock-invalid`, `settings-invalid`; what the key, the suites, the base and measuring refuse.
    """
    from compose import durable
    from compose.trust.check import check, gather
    from compose.trust.claims import lock_digest
    from compose.trust.evidence import PAYLOAD_TYPE, gate_name, statement_bytes, statement_of
    from compose.trust.gates import decide
    from compose.trust.keyring import read_keyring
    from compose.trust.keys import load_signer
    from compose.trust.lockfile import read_lock_file
    from compose.trust.seal import seal
    from compose.trust.store import Store
    from compose.trust.suites import vouched_for

    lock = read_lock_file(path)
    now = datetime.now(UTC)
    if arguments.key is None:
        raise Rejected(
            "settings-invalid",
            subject="compose evaluate compose.lock",
            expected="--key NAME, the evaluator's key that seals the evidence",
            got="no --key",
            fix="make one with `compose keys new NAME --role evaluator`",
        )
    signer = load_signer(arguments.keys, arguments.key, "evaluator", now=now, passphrase=passphrase())
    pins, keyring = vouched_for(arguments.keys), read_keyring(arguments.keys)
    case = gather(lock, Store(arguments.store), {}, keyring=keyring, pins=pins, now=now)
    static = check(case, proven=False)
    if static.decision == "deny":  # a day of a GPU is not spent on what cannot be released
        from compose.cli.check import told

        print(printable(told(static, f"{lock.name} {lock.version}")))
        return 1
    measured = _measured(case, arguments, now)
    decisions = {gate_name(gate): decide(gate, measured, lock.patches) for gate in lock.gates}
    passed = {name: all(one.verdict == "passed" for one in found) for name, found in decisions.items()}
    statement = statement_of(lock_digest(lock), f"{lock.name} {lock.version}", passed, measured)
    durable.write_bytes(arguments.out, seal(statement_bytes(statement), PAYLOAD_TYPE, signer))
    print(printable(table([one for found in decisions.values() for one in found])))
    if arguments.stop_early:
        print(f"\n{printable(saved(measured))}")
    if measured.nearness is not None:
        print(printable(f"\n{nearness(measured.nearness)}"))
    print(f"\nevidence: {arguments.out}\ncompose check {path} --evidence {arguments.out} decides")
    return 0 if all(passed.values()) else 1


def pin(names: Sequence[str]) -> int:
    """Return 0 once the suites of these names, and the passages of utility, are printed as suites.json holds them.

    Raises:
        Rejected: `settings-invalid` for an unknown suite; what loading its prompts and judges refuses.
    """
    from compose import settings
    from compose.evaluate.suites import load_suite
    from compose.evaluate.utility import UtilitySpec, load_utility
    from compose.laboratory.proving import passages_pin, pin_of
    from compose.trust.suites import Pins

    specs = {name: settings.suite(name, ()) for name in names}
    pins = Pins(
        suites={name: pin_of(load_suite(spec)) for name, spec in specs.items()},
        passages=(passages_pin(load_utility(UtilitySpec())),),
    )
    print(json.dumps(pins.model_dump(mode="json"), indent=1, sort_keys=True))
    return 0


def table(decisions: Sequence[Decision]) -> str:
    """Return what became of every gate, a line each."""
    rows = [("gate", "verdict", "estimate", "bound", "limit", "n", "more")]
    for one in decisions:
        bound, high = one.bound, one.gate.direction == "max"
        rows.append(
            (
                one.subject,
                one.verdict,
                "-" if bound is None else f"{bound.estimate:.4f}",
                "-" if bound is None else f"{bound.upper if high else bound.lower:.4f}",
                f"{one.limit:g}",
                "-" if bound is None else f"{bound.units} {one.units}",
                "-" if one.more is None else str(one.more),
            )
        )
    return aligned(rows)


def saved(measured: Measured) -> str:
    """Return how many prompts of each part were asked, a line each, and how many were not since its gates were settled.

    Args:
        measured: What was measured until the gates were settled.
    """
    rows = [("part", "asked", "saved", "")]
    for one in measured.outcomes:
        part = measured.suites[one.suite].parts[one.part]
        note = "in groups, asked whole" if part.grouped else "" if one.unasked else "asked to the end"
        left = len(one.unasked)
        rows.append((f"{one.suite}/{one.part}", str(part.n_prompts - left), str(left), note))
    return aligned(rows)


def nearness(found: Nearness) -> str:
    """Return how far everyone lies from the base's tokens, in one line."""
    members = ", ".join(f"{name} {value:.3g}" for name, value in found.members.items())
    return f"distance to the nearest token, mean over rows: composition {found.composition:.3g}, {members}"


def _measured(case: Case, arguments: argparse.Namespace, now: datetime) -> Measured:
    """Return the measurement of a composition that has passed the static rules."""
    from compose import settings
    from compose.artifact import Patch
    from compose.base import load_base
    from compose.base_spec import read_spec
    from compose.evaluate.suites import load_suite
    from compose.evaluate.suites.load import refuse_trained_prompts
    from compose.evaluate.utility import UtilitySpec, load_utility
    from compose.laboratory.leakage import trained_prompts
    from compose.laboratory.proving import prove, suites_of, wants_utility
    from compose.patch_files import PlainPatch
    from compose.trust.composition import composed

    specs = [settings.suite(name, ()) for name in suites_of(case.lock)]  # before the base: a typo costs no minute
    members = [held for held in case.patches.values() if isinstance(held, PlainPatch)]
    made = composed(case.lock, members, case.init if isinstance(case.init, PlainPatch) else None)
    seen = {member.card.name: trained_prompts(member.card, arguments.store, arguments.pairs) for member in members}
    base = load_base(read_spec(arguments.model), device=arguments.device)
    suites = [load_suite(spec, base) for spec in specs]
    for name, (texts, unknown) in seen.items():
        for suite in suites:
            refuse_trained_prompts(suite, texts, patch=name)
        if unknown:
            print(printable(f"{name}: whether it was trained on test prompts was not checked (--pairs FILE)"))
    return prove(
        case.lock,
        Patch.of(made.values, made.card),
        [Patch.of(member.values, member.card) for member in members],
        base,
        suites,
        load_utility(UtilitySpec()) if wants_utility(case.lock) else None,
        arguments.runs / "measurements",
        now=now,
        stop_early=arguments.stop_early,
    )
