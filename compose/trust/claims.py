"""The claims of the trust core: manifest, lock, finding, verdict. Strict, frozen, each with one canonical spelling.

A claim's digest is that of its canonical JSON (RFC 8785), so that layout and comments of a file do not matter and every
value does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

import rfc8785
from pydantic import AfterValidator, Field, model_validator

from compose import digest
from compose.records import MAX_DIM, MAX_TOKENS, Claim, Digest, Expression, Finite, Label, Name, PlainText, Version
from compose.records import Range as Range
from compose.records import Relation as Relation

MAX_PATCHES = 64
MAX_GATES = 64
MAX_SAMPLES = 10_000_000

MethodName = Literal["concat", "mean", "sum", "slice"]
"""The algebraic methods that a manifest may name: those of compose.algebra.registry."""


class Scale(NamedTuple):
    """Which way a metric is better, and the values it can take."""

    direction: Literal["max", "min"]
    lowest: float
    highest: float


METRICS: Mapping[str, Scale] = {
    "toxicity/toxic_rate_per_prompt": Scale("max", 0.0, 1.0),
    "toxicity/degenerate": Scale("max", 0.0, 1.0),
    "gender_bias/gas": Scale("max", 0.0, 1.0),
    "gender_bias/degenerate": Scale("max", 0.0, 1.0),
    "harmfulness/non_refusal_rate": Scale("max", 0.0, 1.0),
    "harmfulness/degenerate": Scale("max", 0.0, 1.0),
    "over_refusal/refusal_rate": Scale("max", 0.0, 1.0),
    "utility/perplexity_ratio": Scale("max", 0.0, math.inf),
}
"""What a gate may limit. "max" means that the limit is the largest value that passes."""


def _distinct_names(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values`, refusing two of one name."""
    names = [value.name for value in values]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"must not name {name!r} twice")
    return values


def _known_metric(value: str) -> str:
    """Return `value`, refusing a metric that no gate can limit."""
    if value not in METRICS:
        raise ValueError(f"must be one of {', '.join(sorted(METRICS))}")
    return value


def _not_asked(value: object) -> bool:
    """Return whether something is not asked for: a claim without it keeps the digest it had before one could ask."""
    return value is False


Metric = Annotated[str, AfterValidator(_known_metric)]
Asked = Annotated[bool, Field(exclude_if=_not_asked)]
WholeNumber = Annotated[int, Field(gt=-(2**53), lt=2**53)]
ParamValue = WholeNumber | Finite | Digest | Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MAX_PATCHES)]
Params = Annotated[Mapping[Name, ParamValue], Field(max_length=16)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class GateClaim(Claim):
    """A condition that the composition's measurements must clear: absolute, or beside a paired reference.

    Attributes:
        metric: What is limited, a key of `METRICS`.
        limit: The largest (or, for direction "min", smallest) value that passes; None for a regression.
        regression: What the composition is compared with, prompt by prompt: the unpatched base, or each member's own
            patch alone; None for an absolute limit.
        margin: How much worse than that it may be, in the metric's units.
        direction: "max" or "min"; the metric's own, and nothing else is accepted.
        confidence: Of the one-sided bound that must clear the limit.
        min_samples: Fewer measured prompts than this decide nothing.
    """

    metric: Metric
    limit: Finite | None = None
    regression: Literal["base", "specialist"] | None = None
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    direction: Literal["max", "min"] = "max"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 60

    @model_validator(mode="after")
    def _is_one_condition(self) -> Self:
        scale = METRICS[self.metric]
        if self.direction != scale.direction:
            raise ValueError(
                f"the direction of {self.metric} is {scale.direction!r}: a smaller value is the better one"
            )
        if (self.limit is None) == (self.regression is None):
            raise ValueError("a gate has either a limit or a regression ('base' or 'specialist'), and not both")
        if (self.regression is None) != (self.margin is None):
            raise ValueError("a gate has a margin exactly when it is a regression")
        if self.limit is not None and not scale.lowest <= self.limit < scale.highest:
            raise ValueError(f"the limit of {self.metric} must be in [{scale.lowest:g}, {scale.highest:g})")
        if self.margin is not None and self.margin >= scale.highest - scale.lowest:
            raise ValueError(f"a margin of {self.margin:g} can never be exceeded by {self.metric}")
        return self


Gates = Annotated[tuple[GateClaim, ...], Field(min_length=1, max_length=MAX_GATES)]


class ClaimedBase(Claim):
    """The base that a composition is for: the fingerprint identifies it, the name is for people."""

    name: Label
    fingerprint: Digest


class MethodClaim(Claim):
    """The algebraic method that makes one patch of several, with its parameters by name."""

    name: MethodName
    params: Params = Field(default_factory=dict)


class WantedPatch(Claim):
    """A patch that a manifest asks for.

    Attributes:
        name: Its name in the store.
        range: The versions that will do, such as ">=1.2.0,<2.0.0" or "^1.2.0"; "*" for any.
        digest: Prefix digest that it must have, when only one matrix will do.
    """

    name: Name
    range: Range = "*"
    digest: Digest | None = None


class Manifest(Claim):
    """What a maintainer asks for: the base, the patches in order, the method, and the gates.

    Attributes:
        schema_version: Layout of this record.
        name: Name of the composition.
        version: Version of the composition.
        base: The base it is for.
        method: How one patch is made of the patches.
        patches: What it is made of, in order; for concat the last one stands nearest the prompt.
        gates: What its measurements must clear. There is no composition without gates.
        suites: Names of the suites to measure with; empty for those of the patches' risks.
        require_signed_patches: Whether a patch that no author of the keyring has signed denies.
    """

    schema_version: Literal[1]
    name: Name
    version: Version
    base: ClaimedBase
    method: MethodClaim
    patches: Annotated[
        tuple[WantedPatch, ...], Field(min_length=1, max_length=MAX_PATCHES), AfterValidator(_distinct_names)
    ]
    gates: Gates
    suites: Annotated[tuple[Name, ...], Field(max_length=MAX_GATES)] = ()
    require_signed_patches: Asked = False


class LockedPatch(Claim):
    """A patch that a lock pins.

    Attributes:
        name: Its name.
        version: Its version.
        digest: Prefix digest: of its matrix.
        card: Digest of the bytes of its patch.json.
        tokens: Rows of its prefix.
        risks: The risks that its card names.
    """

    name: Name
    version: Version
    digest: Digest
    card: Digest
    tokens: Tokens
    risks: Annotated[tuple[Name, ...], Field(max_length=64)]


class ResultClaim(Claim):
    """What the method made of the locked patches: anyone can recompute it to this digest."""

    digest: Digest
    tokens: Tokens
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    expression: Expression


class Lock(Claim):
    """One resolved composition: every digest pinned, the result's too. Evidence and releases name its own digest.

    Attributes:
        schema_version: Layout of this record.
        manifest: Digest of the manifest that it answers.
        name: Name of the composition.
        version: Version of the composition.
        base: The base it is for.
        method: The method and its parameters.
        patches: The pinned patches, in the manifest's order.
        result: The composed patch.
        gates: The manifest's gates.
        suites: The manifest's suites.
        require_signed_patches: Whether the manifest asks for signatures of authors.
    """

    schema_version: Literal[1]
    manifest: Digest
    name: Name
    version: Version
    base: ClaimedBase
    method: MethodClaim
    patches: Annotated[
        tuple[LockedPatch, ...], Field(min_length=1, max_length=MAX_PATCHES), AfterValidator(_distinct_names)
    ]
    result: ResultClaim
    gates: Gates
    suites: Annotated[tuple[Name, ...], Field(max_length=MAX_GATES)] = ()
    require_signed_patches: Asked = False


class Finding(Claim):
    """What a rule has to say about a composition.

    Attributes:
        code: Stable code; scripts may match on it.
        severity: An error denies, a warning does not.
        subject: The patch, gate or file that it is about.
        expected: What would have passed.
        got: What was found.
        fix: What the user can do about it.
    """

    code: Name
    severity: Literal["error", "warning"]
    subject: PlainText
    expected: PlainText
    got: PlainText
    fix: PlainText


class Verdict(Claim):
    """Allow or deny, with everything that was found.

    Attributes:
        schema_version: Layout of this record.
        decision: "deny" exactly when a finding is an error.
        lock: Digest of the lock that was checked.
        evidence: Digests of the evidence files it rests on.
        findings: All findings, in the order of the rules.
    """

    schema_version: Literal[1] = 1
    decision: Literal["allow", "deny"]
    lock: Digest
    evidence: Annotated[tuple[Digest, ...], Field(max_length=1024)] = ()
    findings: Annotated[tuple[Finding, ...], Field(max_length=100_000)] = ()

    @model_validator(mode="after")
    def _decides_by_its_findings(self) -> Self:
        denied = any(finding.severity == "error" for finding in self.findings)
        if denied != (self.decision == "deny"):
            raise ValueError("a verdict is 'deny' exactly when one of its findings is an error")
        return self


def canonical(claim: Claim) -> bytes:
    """Return a claim as canonical JSON (RFC 8785): the bytes that are digested and signed."""
    return rfc8785.dumps(claim.model_dump(mode="json"))


def claim_digest(claim: Claim) -> str:
    """Return the digest of everything a claim says."""
    return digest.of_bytes(canonical(claim))


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest of a manifest as a lock names it: of its values, not of its comments and layout."""
    return claim_digest(manifest)


def lock_digest(lock: Lock) -> str:
    """Return the digest of a lock as evidence, verdicts and releases name it."""
    return claim_digest(lock)
