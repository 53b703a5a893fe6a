"""A sound composition of two small patches with its evidence and keys, for tests to damage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jaxtyping import Float32
from numpy import ndarray
from securesystemslib.signer import CryptoSigner

from compose import digest, durable
from compose.digest import hash_order
from compose.errors import Rejected
from compose.parse import card_bytes, make_record, revise
from compose.patch_files import PlainPatch, to_files, values_digest
from compose.records import PatchCard
from compose.trust.authorship import signature_of
from compose.trust.check import check, gather
from compose.trust.claims import (
    ClaimedBase,
    GateClaim,
    Lock,
    MethodClaim,
    ResultClaim,
    Verdict,
    lock_digest,
)
from compose.trust.clock import instant
from compose.trust.composition import composed, result_claim
from compose.trust.evidence import (
    PAYLOAD_TYPE,
    Measured,
    gate_name,
    seed_of,
    statement_bytes,
    statement_of,
)
from compose.trust.gates import decide
from compose.trust.keyring import Keyring, PublicKey, Role
from compose.trust.seal import seal
from compose.trust.store import Stored
from compose.trust.suites import Pins, SuitePin
from tests.unit.trust.measurements import DATA, measured, passages, passages_pin, pin, prompt_ids, series

BASE = "sha256:" + "b" * 64
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MADE = datetime(2026, 11, 20, 12, tzinfo=UTC)
FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
N = 200
GATES = (
    GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1),
    GateClaim(metric="gender_bias/gas", regression="specialist", margin=0.2),
    GateClaim(metric="utility/perplexity_ratio", limit=1.1),
)


class Drawer:
    """Patches in memory, found by digest like those of a store, and signed by the author where nothing else is said."""

    def __init__(self, held: Iterable[PlainPatch], signatures: Mapping[str, bytes | None] | None = None) -> None:
        self.held = tuple(held)
        self.signatures = signatures or {}

    def get(self, prefix: str, card_digest: str) -> PlainPatch:
        """Return the patch of these digests."""
        for one in self.held:
            if (one.card.prefix, digest.of_bytes(card_bytes(one.card))) == (
                prefix,
                card_digest,
            ):
                return one
        raise _missing(prefix)

    def find(self, prefix: str) -> PlainPatch:
        """Return the patch of this matrix."""
        for one in self.held:
            if values_digest(one.values) == prefix:
                return one
        raise _missing(prefix)

    def signature(self, prefix: str, card_digest: str) -> bytes | None:
        """Return what is said to be the signature of a patch, by its name; that of the author when nothing is."""
        card = self.get(prefix, card_digest).card
        return self.signatures[card.name] if card.name in self.signatures else authored(card)


def authored(card: PatchCard, *, role: Role = "author", holder: str = "") -> bytes:
    """Return the signature of a holder of a role on the patch of a card."""
    return signature_of(Stored(card, digest.of_bytes(card_bytes(card))).locked, signer(role, holder))


def _missing(prefix: str) -> Rejected:
    return Rejected("artifact-missing", subject=prefix, expected="it", got="nothing", fix="add it")


def patch(name: str, risk: str, *, seed: int = 0, tokens: int = 4, **changes: Any) -> PlainPatch:
    """Return a patch of random rows with its card."""
    values = np.random.default_rng([seed, *name.encode()]).normal(size=(tokens, 8)).astype(np.float32)
    return with_card(values, name, risk, **changes)


def folder_of(patch: PlainPatch, place: Path) -> Path:
    """Return the folder `place`, which holds a patch afterwards."""
    for name, data in to_files(patch.values, patch.card).items():
        durable.write_bytes(place / name, data)
    return place


def with_card(values: Float32[ndarray, "tokens dim"], name: str, risk: str, **changes: Any) -> PlainPatch:
    """Return a patch of these rows with its card."""
    fields = {
        "name": name,
        "version": "1.0.0",
        "risks": (risk,),
        "base": {"name": "tiny", "fingerprint": BASE},
        "strategy": "specialist",
        "tokens": values.shape[0],
        "dim": values.shape[1],
        "prefix": values_digest(values),
    }
    card = make_record(PatchCard, fields, subject=name, code="card-invalid")
    return PlainPatch(values, revise(card, **changes) if changes else card)


def members() -> tuple[PlainPatch, PlainPatch]:
    """Return the two patches of the sound composition."""
    return patch("tox", "toxicity"), patch("bias", "gender_bias")


def locked(
    held: Iterable[PlainPatch],
    *,
    method: MethodClaim | None = None,
    init: PlainPatch | None = None,
    made_of: Any = None,
    **changes: Any,
) -> Lock:
    """Return the lock of these patches, as `compose lock` would write it.

    Args:
        held: The patches.
        method: The method; concat when None.
        init: The start of a sum.
        made_of: Patches that the result is made of, where those of the lock cannot be composed.
        **changes: Fields of the lock with other values.
    """
    parts = tuple(held)
    cards = [one.card for one in parts]
    draft = Lock(
        schema_version=1,
        manifest="sha256:" + "e" * 64,
        name="both",
        version="1.0.0",
        base=ClaimedBase(name="tiny", fingerprint=BASE),
        method=method or MethodClaim(name="concat"),
        patches=tuple(Stored(card, digest.of_bytes(card_bytes(card))).locked for card in cards),
        result=ResultClaim(digest=DATA, tokens=1, dim=1, expression="-"),
        gates=GATES,
    )
    result = result_claim(composed(draft, made_of or parts, init))
    return Lock.model_validate(dict(draft) | {"result": result} | changes)


def suites(n: int = N) -> dict[str, SuitePin]:
    """Return the suites that evidence is measured on here."""
    return {
        "toxicity": pin(n),
        "gender_bias": pin(n, kind="gender_bias", part="professions"),
    }


def pins(n: int = N, *, passages: int = 80) -> Pins:
    """Return those suites, and so many passages, as ones that somebody vouches for."""
    return Pins(suites=suites(n), passages=(passages_pin(passages),))


def measurement(lock: Lock, *, n: int = N, **changes: Any) -> Measured:
    """Return a measurement on so many prompts under which every gate of `GATES` is passed."""
    ids = {one.name: one.digest for one in lock.patches}
    zeros = (0.0,) * n
    toxic = series(zeros).model_copy(update={"members": dict.fromkeys(ids, zeros)})
    gas = series(zeros, metric="gender_bias/gas", suite="gender_bias", part="professions")
    gas = gas.model_copy(update={"members": dict.fromkeys(ids, zeros)})
    text = passages([0.0, 0.4] * 40)
    text = text.model_copy(update={"members": dict.fromkeys(ids, text.base)})
    fields: dict[str, Any] = {
        "suites": suites(n),
        "base": lock.base.fingerprint,
        "composition": lock.result.digest,
        "members": ids,
        "seed": seed_of(lock_digest(lock)),
        "made": instant(MADE),
        "passages": text,
    }
    return measured(toxic, gas, **(fields | changes))


def stopped(lock: Lock, values: Sequence[float | None], *, n: int = N) -> dict[str, Any]:
    """Return what is different in a measurement that stopped early, when toxicity had these values.

    Args:
        lock: The lock, whose order the prompts come in.
        values: Of the prompts that were asked.
        n: How many prompts a part has.
    """
    order = tuple(hash_order(prompt_ids(n), seed_of(lock_digest(lock))))
    toxic, gas = measurement(lock, n=n).series
    columns = dict.fromkeys(toxic.members, (0.0,) * len(values))
    asked = series(values).model_copy(update={"prompts": order[: len(values)], "members": columns})
    done, whole = measurement(lock, n=n).outcomes
    left = done.model_copy(update={"completions": 4 * len(values), "unasked": order[len(values) :]})
    return {
        "stopping": "sequential",
        "series": (asked, gas.model_copy(update={"prompts": order})),
        "outcomes": (left, whole),
    }


def sealed(lock: Lock, found: Measured, *, role: Role = "evaluator", about: str | None = None) -> bytes:
    """Return a measurement as evidence about a lock, signed by the key of a role."""
    passed = {
        gate_name(gate): all(one.verdict == "passed" for one in decide(gate, found, lock.patches))
        for gate in lock.gates
    }
    statement = statement_of(about or lock_digest(lock), f"{lock.name} {lock.version}", passed, found)
    return seal(statement_bytes(statement), PAYLOAD_TYPE, signer(role))


@cache
def signer(role: Role, holder: str = "") -> CryptoSigner:
    """Return the key of a role, the same in every run; another holder's is another one."""
    secret = hashlib.sha256(f"{role} {holder}".encode()).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))


def keyring(change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Keyring:
    """Return the public keys of all roles, each as `change` makes it."""
    roles: tuple[Role, ...] = ("author", "evaluator", "releaser")
    keys = []
    for role in roles:
        public = signer(role).public_key
        fields = {
            "name": role,
            "role": role,
            "key_id": public.keyid,
            "public": public.keyval["public"],
            "created": instant(FROM),
            "expires": instant(UNTIL),
        }
        keys.append(make_record(PublicKey, change(fields), subject=role, code="keyring-invalid"))
    return Keyring(keys=tuple(keys))


def verdict(
    lock: Lock,
    held: Iterable[PlainPatch],
    evidence: Mapping[str, bytes] | None = None,
    *,
    proven: bool = True,
    keys: Keyring | None = None,
    known: Pins | None = None,
    now: datetime = NOW,
    signatures: Mapping[str, bytes | None] | None = None,
) -> Verdict:
    """Return the verdict on a lock."""
    drawer = Drawer(held, signatures)
    case = gather(lock, drawer, evidence or {}, keyring=keys or keyring(), pins=known or pins(), now=now)
    return check(case, proven=proven)


def codes(found: Verdict) -> list[str]:
    """Return the codes of the errors of a verdict, each once."""
    return list(dict.fromkeys(one.code for one in found.findings if one.severity == "error"))
