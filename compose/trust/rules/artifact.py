"""The store holds what the lock pins, and the result is what the method makes of it, recomputed from the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from compose.errors import Rejected
from compose.patch_files import PlainPatch
from compose.records import PatchCard
from compose.trust.claims import Finding, LockedPatch
from compose.trust.composition import composed, result_claim
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding, refused

SHORTEST, LONGEST = 0.5, 2.0
"""Rows of a result may have this share of the smallest, and of the largest, mean row norm of its patches."""


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every patch that is not as locked, and for a result that is another one."""
    members: list[PlainPatch] = []
    for patch in case.lock.patches:
        held = case.patches[patch.name]
        if isinstance(held, Rejected):
            yield refused(held, subject=f"patch {patch.name} {patch.version}")
        else:
            members.append(held)
    for patch, card in case.cards():
        yield from _described(patch, card)
    if isinstance(case.init, Rejected):
        yield refused(case.init, subject="the start of the sum")
    elif len(members) == len(case.lock.patches):
        yield from _result(case, members, case.init)


def _described(patch: LockedPatch, card: PatchCard) -> Iterator[Finding]:
    """Yield a finding when a lock says something else of a patch than its card does."""
    said = (patch.name, patch.version, patch.digest, patch.tokens, patch.risks)
    true = (card.name, card.version, card.prefix, card.tokens, card.risks)
    if said != true:
        yield finding(
            "patch-mismatch",
            subject=f"patch {patch.name} {patch.version}",
            expected=_told(true),
            got=_told(said),
            fix="make the lock again with `compose lock`",
        )


def _told(fields: tuple[str, str, str, int, tuple[str, ...]]) -> str:
    """Return what is said of a patch, in one line."""
    name, version, digest, tokens, risks = fields
    return f"{name} {version}, {digest}, {tokens} tokens, risks {', '.join(risks) or 'none'}"


def _result(case: Case, members: Sequence[PlainPatch], init: PlainPatch | None) -> Iterator[Finding]:
    """Yield a finding when the result is another one, and a warning when its rows are unlike those of its parts."""
    subject = f"the result of {case.lock.name} {case.lock.version}"
    try:
        made = composed(case.lock, members, init)
    except Rejected as error:
        yield refused(error, subject=subject)
        return
    true, said = result_claim(made), case.lock.result
    if said != true:
        yield finding(
            "result-mismatch",
            subject=subject,
            expected=f"{true.digest}, {true.tokens} x {true.dim}, {true.expression}",
            got=f"{said.digest}, {said.tokens} x {said.dim}, {said.expression}",
            fix="make the lock again with `compose lock`: it was edited, or its patches were exchanged or reordered",
        )
        return
    norms = [_norm(member) for member in members]
    shortest, longest, found = SHORTEST * min(norms), LONGEST * max(norms), _norm(made)
    if not shortest <= found <= longest:
        yield finding(
            "result-norm",
            subject=subject,
            expected=f"rows of mean norm {shortest:.3g} to {longest:.3g}, as its patches have",
            got=f"{found:.3g}",
            fix="look at its measurements with care: patches that were trained apart may cancel out or add up",
            severity="warning",
        )


def _norm(member: PlainPatch) -> float:
    """Return the mean norm of a patch's rows."""
    return float(np.linalg.norm(member.values.astype(np.float64), axis=1).mean())
