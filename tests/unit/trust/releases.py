"""Locks that are released without a model, and what stands for the full check of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from compose import digest
from compose.trust.channel import publish
from compose.trust.claims import ClaimedBase, Finding, GateClaim, Lock, MethodClaim, ResultClaim, Verdict, lock_digest
from compose.trust.client import Fetched
from compose.trust.releasing import BundledPatches, prepare
from compose.trust.store import Store, Stored
from tests.unit.trust.shop import Shop

DIGEST = "sha256:" + "d" * 64
EVIDENCE = (b"first evidence", b"second evidence")
BAD = Finding(code="gate-failed", severity="error", subject="a gate", expected="less", got="more", fix="train on")


def locked(*stored: Stored, version: str = "1.0.0", **params: Any) -> Lock:
    """Return a lock of these patches whose result nobody looks at here."""
    return Lock(
        schema_version=1,
        manifest=DIGEST,
        name="calm",
        version=version,
        base=ClaimedBase(name="tiny", fingerprint="sha256:" + "b" * 64),
        method=MethodClaim(name="sum" if params else "concat", params=params),
        patches=tuple(each.locked for each in stored),
        result=ResultClaim(digest=DIGEST, tokens=4, dim=2, expression="x"),
        gates=(GateClaim(metric="toxicity/toxic_rate_per_prompt", limit=0.1),),
    )


class Judge:
    """Stands for the full check: reads every patch that the lock names, and remembers what it was asked."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        self.asked: list[tuple[str, dict[str, bytes], datetime]] = []

    def __call__(self, lock: Lock, patches: BundledPatches, evidence: Mapping[str, bytes], now: datetime) -> Verdict:
        for patch in lock.patches:
            patches.get(patch.digest, patch.card)
        if isinstance(init := lock.method.params.get("init"), str):
            patches.find(init)
        self.asked.append((lock_digest(lock), dict(evidence), now))
        return Verdict(
            decision="deny" if any(one.severity == "error" for one in self.findings) else "allow",
            lock=lock_digest(lock),
            evidence=tuple(digest.of_bytes(data) for data in evidence.values()),
            findings=self.findings,
        )


def put_forward(shop: Shop, lock: Lock, store: Store) -> None:
    """Release a lock, or put its release forward where that takes several releasers."""
    shop.advance()
    bundle = prepare(lock, store, EVIDENCE, check=Judge(), now=shop.now).bundle
    assert bundle is not None
    publish(shop.channel, bundle, shop.writer(), shop.now)


def released(shop: Shop, lock: Lock, store: Store) -> Fetched:
    """Return a lock's release as a reader gets it."""
    put_forward(shop, lock, store)
    return shop.fetch(lock.version)
