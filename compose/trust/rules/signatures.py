"""Who has signed: patches their authors, where that is asked for, and every file of evidence an evaluator.

Only keys that count now do. One bad file denies, whatever others say; a patch that nobody known has signed denies when
the manifest asks for signatures or the keyring says whose the patch needs, and is a warning otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from compose.errors import Rejected
from compose.trust.claims import Finding, LockedPatch
from compose.trust.rules.case import Case
from compose.trust.rules.finding import finding, refused

SIGN = "have its author sign it with `compose sign PATCH --key AUTHOR`"


def authors(case: Case) -> Iterator[Finding]:
    """Yield a finding for every patch of the store without the signature of an author who may, or with a bad one."""
    for patch, _ in case.cards():
        yield from _authored(case, patch)


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding for every file whose seal or statement was refused."""
    for exhibit in case.exhibits:
        if exhibit.refused is not None:
            yield refused(exhibit.refused, subject=exhibit.name)


def _authored(case: Case, patch: LockedPatch) -> Iterator[Finding]:
    """Yield a finding when a patch's signature is not what is asked for."""
    subject, found = f"patch {patch.name} {patch.version}", case.authors[patch.name]
    pinned = case.pinned.get(patch.name, ())
    required = bool(pinned) or case.lock.require_signed_patches
    wanted = f"the signature of {' or '.join(pinned) or 'an author of the keyring'}"
    if isinstance(found, Rejected):
        # A stranger's signature is worth what none is: who adds one must not be worse off than who strips it.
        stranger = found.code == "key-unknown" and not required
        yield refused(found, subject=subject, severity="warning" if stranger else "error")
    elif not found:
        yield finding(
            "patch-unsigned",
            subject=subject,
            expected=wanted,
            got="no signature",
            fix=SIGN,
            severity="error" if required else "warning",
        )
    elif pinned and not {key.name for key in found} & set(pinned):
        yield finding(
            "patch-author",
            subject=subject,
            expected=wanted,
            got=f"that of {', '.join(f'{key.name} ({key.key_id[:8]})' for key in found)}",
            fix=f"{SIGN}; if another author has taken it over, say so with `compose keys pin AUTHOR {patch.name}`",
        )
