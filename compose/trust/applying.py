"""The one call of a deployer: from a channel's current release to a model that is ready to generate, or a refusal.

Everything is verified again from the fetched bytes: the channel, the release's signature, the full check with its
evidence, the base's fingerprint, and that the patch is active. No argument turns a step off. Who wants to try a lock
that nobody has proven calls `apply_unverified_for_laboratory`, and gets no release by it.

torch is imported when a model is loaded.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compose.errors import Rejected
from compose.patch_files import PlainPatch
from compose.trust.check import Shelf, check_release
from compose.trust.claims import Lock, Verdict, lock_digest
from compose.trust.client import default_state, open_channel
from compose.trust.composition import composed
from compose.trust.keyring import read_keyring
from compose.trust.lockfile import read_lock
from compose.trust.release import LOCK_FILE, Release
from compose.trust.releasing import BundledPatches, recheck
from compose.trust.suites import vouched_for

if TYPE_CHECKING:
    from compose.base import Base
    from compose.base_spec import BaseSpec
    from compose.engine.patched import PatchedModel


@dataclass(frozen=True)
class Verified:
    """A release that has passed every check that needs no model.

    Attributes:
        release: What it says.
        verdict: The verdict, made anew.
        lock: Its lock.
        patch: The composition.
    """

    release: Release
    verdict: Verdict
    lock: Lock
    patch: PlainPatch


def verify(channel: str, name: str, *, keys: Path, now: datetime, state: Path | None = None) -> Verified:
    """Return the current release of a name, everything about it verified from its bytes.

    Args:
        channel: The channel's folder or address.
        name: Name of the composition.
        keys: The folder of keys with the keyring that is trusted.
        now: The moment.
        state: What was seen of the channel before; the usual place when None.

    Raises:
        Rejected: What reading the channel and the release refuse; `release-denied` when the check denies it now.
    """
    keyring, pins = read_keyring(keys), vouched_for(keys)
    with open_channel(channel, keyring, state=state or default_state(channel), now=now) as reader:
        fetched = reader.fetch(name)
    verdict = recheck(
        fetched,
        check=lambda lock, patches, evidence, at: check_release(
            lock, patches, evidence, keyring=keyring, pins=pins, now=at
        ),
    )
    subject = f"{name} {fetched.release.version} of {channel}"
    if verdict.decision != "allow":
        errors = [one for one in verdict.findings if one.severity == "error"]
        raise Rejected(
            "release-denied",
            subject=subject,
            expected="a release that the check allows",
            got="; ".join(f"{one.code}: {one.subject}" for one in errors[:4]),
            fix="do not use it: ask its maintainers; `compose audit` prints every finding",
        )
    lock = read_lock(fetched.files[LOCK_FILE], subject=f"{subject}: {LOCK_FILE}")
    patch = _made(lock, BundledPatches(fetched.files, subject))
    return Verified(fetched.release, verdict, lock, patch)


def apply(
    channel: str,
    name: str,
    *,
    base: Base | BaseSpec | str,
    keys: Path,
    now: datetime,
    state: Path | None = None,
    device: str | None = None,
) -> PatchedModel:
    """Return a model with the current release of a name in front of every prompt.

    Args:
        channel: The channel's folder or address.
        name: Name of the composition.
        base: The base, or the name of a file in `conf/model/`.
        keys: The folder of keys with the keyring that is trusted.
        now: The moment.
        state: What was seen of the channel before; the usual place when None.
        device: Where to compute; the first GPU, else the CPU, when None.

    Raises:
        Rejected: As `verify`; `base-mismatch` for another base than the lock's; `self-test-failed` when the patch is
            not active; what loading the base refuses.
    """
    verified = verify(channel, name, keys=keys, now=now, state=state)  # before the base: a refusal costs no minute
    return on_base(verified.lock, verified.patch, base, device=device)


def apply_unverified_for_laboratory(
    lock: Lock, shelf: Shelf, *, base: Base | BaseSpec | str, device: str | None = None
) -> PatchedModel:
    """Return a model with a locked composition that NOBODY HAS PROVEN: no signature, no evidence, no gate is looked at.

    Only the bytes of its patches, the result's digest, the base and the self-test are. A warning says so on every call.

    Args:
        lock: The lock.
        shelf: Where its patches are.
        base: The base, or the name of a file in `conf/model/`.
        device: Where to compute.

    Raises:
        Rejected: What the shelf, the method and the base refuse; `lock-invalid`, `base-mismatch`, `self-test-failed`.
    """
    warnings.warn(f"{lock.name} {lock.version} is unproven: for the laboratory alone", stacklevel=2)
    return on_base(lock, _made(lock, shelf), base, device=device)


def on_base(lock: Lock, patch: PlainPatch, base: Base | BaseSpec | str, *, device: str | None = None) -> PatchedModel:
    """Return a composition in front of its base, which is found to be the lock's, and is shown to be active there.

    Raises:
        Rejected: `base-mismatch`, `self-test-failed`; what loading the base refuses.
    """
    from compose.artifact import Patch
    from compose.base import Base, load_base
    from compose.engine.patched import PatchedModel

    loaded = base if isinstance(base, Base) else load_base(base, device=device)
    if loaded.fingerprint != lock.base.fingerprint:
        raise Rejected(
            "base-mismatch",
            subject=f"composition {lock.name} {lock.version}",
            expected=f"{lock.base.name}, {lock.base.fingerprint}",
            got=f"{loaded.name}, {loaded.fingerprint}",
            fix="load the base that it was proven on: weights, config, tokenizer and chat template all count",
        )
    return PatchedModel(loaded, Patch.of(patch.values, patch.card))


def _made(lock: Lock, shelf: Shelf) -> PlainPatch:
    """Return the composition of a lock, found to be the result that it pins.

    Raises:
        Rejected: What the shelf and the method refuse; `lock-invalid` when the result is another one.
    """
    start = lock.method.params.get("init")
    init = shelf.find(start) if isinstance(start, str) else None
    patch = composed(lock, [shelf.get(one.digest, one.card) for one in lock.patches], init)
    if patch.card.prefix != lock.result.digest:
        raise Rejected(
            "lock-invalid",
            subject=f"the result of {lock.name} {lock.version}, {lock_digest(lock)[:19]}",
            expected=lock.result.digest,
            got=patch.card.prefix,
            fix="make the lock again with `compose lock`",
        )
    return patch
