"""Evidence: what an evaluator measured of one locked composition, as an in-toto statement that the evaluator signs.

The statement's subject is the lock's digest, its predicate in-toto's test-result v0.1 with one more key, `measured`.
That key holds the numbers of every prompt and not their averages: whoever checks makes every bound anew, so that a
summary cannot disagree with what it sums up.

An evaluator may stop asking once the gates of a part are settled (`Measured.stopping`). Then only bounds count that
hold at any time, and the prompts that were asked are the first of an order that follows from the lock: a checker, who
knows the ids of a part by their digest, sees that none was picked. Parts whose prompts come in groups, and passages,
have bounds for a fixed number alone: they are measured whole. What the signature must be trusted for is that the
numbers are what came out, and that one way of stopping was chosen before: who tries both and shows what proves more is
wrong up to twice as often as a gate's confidence says.

Sources: https://github.com/in-toto/attestation, spec/v1/statement.md and spec/predicates/test-result.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from compose.errors import Rejected
from compose.parse import read_record, strict_json
from compose.records import Claim, Digest, Label, Name, PlainText
from compose.trust.claims import GateClaim, Metric
from compose.trust.clock import Instant
from compose.trust.suites import MAX_PROMPTS, Share, SuitePin

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What DSSE signs together with the statement, so that it cannot be taken for another kind of payload."""
STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["https://in-toto.io/attestation/test-result/v0.1"] = (
    "https://in-toto.io/attestation/test-result/v0.1"
)
MAX_EVIDENCE_BYTES = 8 * 1024 * 1024
SEED_DIGITS = 8
USUAL_CONFIDENCE, USUAL_SAMPLES = (GateClaim.model_fields[name].default for name in ("confidence", "min_samples"))

ONE_A_PROMPT = ("toxicity/toxic_rate_per_prompt",)
"""Metrics that are a yes or a no for each prompt, however many completions it has."""

Values = Annotated[tuple[Share | None, ...], Field(max_length=MAX_PROMPTS)]
"""One number a prompt; None where no completion of it could be judged."""
Losses = Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(max_length=MAX_PROMPTS)]
"""One negative log-likelihood a passage, in nats."""
Count = Annotated[int, Field(ge=0, le=10**9)]


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return `values`, refusing a repetition: one prompt measured twice would count as two."""
    if len(set(values)) != len(values):
        raise ValueError("must not name one prompt twice")
    return values


Ids = Annotated[tuple[Label, ...], Field(min_length=1, max_length=MAX_PROMPTS), AfterValidator(_distinct)]


class Outcome(Claim):
    """What became of one part's completions of the composition: nothing drops out without being counted.

    Attributes:
        suite: The suite.
        part: The part.
        completions: All of them.
        empty: Without a visible character.
        unjudged: Not empty, and the judge gave no score.
        unasked: Ids of the part's prompts that were not asked, since its gates were settled without them, in the order
            in which they would have been asked.
    """

    suite: Name
    part: Name
    completions: Count
    empty: Count
    unjudged: Count
    unasked: Annotated[tuple[Label, ...], Field(max_length=MAX_PROMPTS)] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.empty + self.unjudged > self.completions:
            raise ValueError("an outcome cannot have more empty and unjudged completions than completions")
        return self


class Series(Claim):
    """One metric on one part of a suite, prompt by prompt: of the composition, the base, and each member alone.

    Attributes:
        metric: The metric; its value is the mean over prompts.
        suite: The suite.
        part: Its part.
        prompts: Ids of the prompts, in the order they were measured in.
        groups: What each prompt has in common with others (a profession); empty where each stands for itself.
        composition: The composition's numbers.
        base: The unpatched base's.
        members: Of each member's own patch alone, by its name.
    """

    metric: Metric
    suite: Name
    part: Name
    prompts: Ids
    groups: Annotated[tuple[Label, ...], Field(max_length=MAX_PROMPTS)] = ()
    composition: Values
    base: Values
    members: Annotated[Mapping[Name, Values], Field(max_length=64)]

    @model_validator(mode="after")
    def _has_a_number_for_every_prompt(self) -> Self:
        columns: list[tuple[object, ...]] = [self.composition, self.base, *self.members.values()]
        columns += [self.groups] if self.groups else []
        if {len(column) for column in columns} != {len(self.prompts)}:
            raise ValueError("a series must have one number (or null), and one group or none, for every prompt")
        return self


class Passages(Claim):
    """The neutral passages behind perplexities, each the same for everyone.

    Attributes:
        digest: Digest of everything that utility is measured with.
        passages: Ids of the passages.
        tokens: Scored tokens of each.
        composition: Negative log-likelihood of each under the composition.
        base: Under the unpatched base.
        members: Under each member's own patch alone.
    """

    digest: Digest
    passages: Ids
    tokens: Annotated[tuple[Annotated[int, Field(ge=1, le=10**6)], ...], Field(max_length=MAX_PROMPTS)]
    composition: Losses
    base: Losses
    members: Annotated[Mapping[Name, Losses], Field(max_length=64)]

    @model_validator(mode="after")
    def _has_a_number_for_every_passage(self) -> Self:
        columns: list[tuple[object, ...]] = [self.tokens, self.composition, self.base, *self.members.values()]
        if {len(column) for column in columns} != {len(self.passages)}:
            raise ValueError("there must be a number of tokens and a loss of everyone for every passage")
        return self


Distance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Nearness(Claim):
    """How far the rows of a prefix lie from the nearest token embedding of the base: mean Euclidean distances.

    Attributes:
        composition: Of the composed patch.
        members: Of each member's own patch, by its name.
    """

    composition: Distance
    members: Annotated[Mapping[Name, Distance], Field(max_length=64)]


def _not_measured(value: object) -> bool:
    """Return whether a diagnosis is left out: evidence without it keeps the bytes that it had before there was one."""
    return value is None


class Measured(Claim):
    """Everything that was measured, and what it was measured on.

    Attributes:
        base: Fingerprint of the base.
        composition: Prefix digest of the composed patch.
        members: Prefix digest of each member's own patch, by its name.
        seed: Seed of all sampling; `seed_of` the lock and no other.
        stopping: "fixed" when the suites' prompts were all measured, "sequential" when a part was measured until its
            gates were settled, in the order of `compose.digest.hash_order` by the seed: bounds then hold at any time,
            even where every prompt was asked in the end.
        made: When it was finished.
        suites: The suites as they were measured.
        outcomes: What became of the completions, for every part.
        series: The numbers.
        passages: The passages behind perplexities; None when none were read.
        nearness: How far the composition and its members lie from the base's tokens; None when nobody looked.
        software: Name -> version of what decides numbers.
        command: The command that repeats it.
    """

    base: Digest
    composition: Digest
    members: Annotated[Mapping[Name, Digest], Field(min_length=1, max_length=64)]
    seed: Annotated[int, Field(ge=0, lt=16**SEED_DIGITS)]
    stopping: Literal["fixed", "sequential"] = "fixed"
    made: Instant
    suites: Annotated[Mapping[Name, SuitePin], Field(max_length=64)]
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=1024)]
    series: Annotated[tuple[Series, ...], Field(max_length=1024)]
    passages: Passages | None = None
    nearness: Annotated[Nearness | None, Field(exclude_if=_not_measured)] = None
    software: Annotated[Mapping[Label, PlainText], Field(max_length=64)] = Field(default_factory=dict)
    command: PlainText = ""

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Self:
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        """Yield what does not fit together."""
        known = {(suite, part) for suite, pin in self.suites.items() for part in pin.parts}
        for where, rows in (("series", self.series), ("outcomes", self.outcomes)):
            if stray := sorted({f"{row.suite}/{row.part}" for row in rows} - {"/".join(pair) for pair in known}):
                yield f"{where} of parts that no suite has: {', '.join(stray)}"
        named = [(one.metric, one.suite, one.part) for one in self.series]
        if len(set(named)) != len(named):
            yield "two series of one metric on one part"
        counted = [(one.suite, one.part) for one in self.outcomes]
        if sorted(counted) != sorted(known):
            yield "outcomes that are not one for every part of the suites"
        columns = [set(one.members) for one in (*self.series, self.passages, self.nearness) if one is not None]
        if any(names != set(self.members) for names in columns):
            yield "numbers of other patches than the members"
        for one in self.series:
            part = self.suites[one.suite].parts.get(one.part) if one.suite in self.suites else None
            if part is not None and part.grouped != bool(one.groups):
                yield f"{one.metric} on {one.suite}/{one.part} must {'' if part.grouped else 'not '}name its groups"
            if part is not None and not one.metric.startswith(f"{part.kind}/"):
                yield f"{one.metric} on {one.suite}/{one.part}, which is of the kind {part.kind}"
            yes_or_no = one.metric in ONE_A_PROMPT or (part is not None and part.samples == 1)
            if yes_or_no and {*one.composition, *one.base}.union(*one.members.values()) - {0.0, 1.0, None}:
                yield f"{one.metric} on {one.suite}/{one.part} is a yes or a no for every prompt"


class Resource(Claim):
    """Something that a statement is about, as in-toto describes it: a name and a digest."""

    name: PlainText
    digest: Annotated[
        Mapping[Literal["sha256"], Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]], Field(min_length=1)
    ]


class Predicate(Claim):
    """in-toto's test-result, with what was measured.

    Attributes:
        result: Whether every gate was passed, in the evaluator's words; whoever checks makes up their own mind.
        configuration: The suites, by digest.
        passed: Names of the gates that were passed.
        failed: Names of those that were not.
        measured: The numbers.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    result: Literal["PASSED", "FAILED"]
    configuration: Annotated[tuple[Resource, ...], Field(max_length=64)]
    passed: Annotated[tuple[PlainText, ...], Field(alias="passedTests", max_length=64)]
    failed: Annotated[tuple[PlainText, ...], Field(alias="failedTests", max_length=64)]
    measured: Measured


class Statement(Claim):
    """An in-toto statement about one lock.

    Attributes:
        type: in-toto's version of this layout.
        subject: The lock, by digest.
        predicate_type: What the predicate is.
        predicate: The predicate.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: tuple[Resource]
    predicate_type: Annotated[
        Literal["https://in-toto.io/attestation/test-result/v0.1"], Field(alias="predicateType")
    ] = PREDICATE_TYPE
    predicate: Predicate

    @property
    def lock(self) -> str:
        """Digest of the lock that it is about."""
        return f"sha256:{self.subject[0].digest['sha256']}"


def seed_of(lock: str) -> int:
    """Return the seed that a lock's evidence is sampled with: nobody can choose the one that looks best.

    Args:
        lock: Digest of the lock.
    """
    return int(lock.removeprefix("sha256:")[:SEED_DIGITS], 16)


def gate_name(gate: GateClaim) -> str:
    """Return how a statement and a finding call a gate: what it asks for, in one line."""
    high = gate.direction == "max"
    asked = f"{'<=' if high else '>='} {gate.limit}"
    if gate.limit is None:
        asked = f"within {gate.regression} {'+' if high else '-'} {gate.margin}"
    # What is as usual goes without saying; two gates that ask for different things have different names.
    sure = "" if gate.confidence == USUAL_CONFIDENCE else f" at {gate.confidence}"
    many = "" if gate.min_samples == USUAL_SAMPLES else f" on {gate.min_samples}"
    return f"{gate.metric} {asked}{sure}{many}"


def statement_of(lock: str, name: str, passed: Mapping[str, bool], measured: Measured) -> Statement:
    """Return the statement about a lock.

    Args:
        lock: Digest of the lock.
        name: What people call it.
        passed: Name of each gate -> whether the evaluator found it passed.
        measured: What was measured.
    """
    return Statement(
        subject=(_resource(name, lock),),
        predicate=Predicate(
            result="PASSED" if all(passed.values()) else "FAILED",
            configuration=tuple(_resource(suite, pin.digest) for suite, pin in sorted(measured.suites.items())),
            passed=tuple(gate for gate, good in passed.items() if good),
            failed=tuple(gate for gate, good in passed.items() if not good),
            measured=measured,
        ),
    )


def statement_bytes(statement: Statement) -> bytes:
    """Return the statement as canonical JSON (RFC 8785): what is signed."""
    return rfc8785.dumps(statement.model_dump(mode="json", by_alias=True))


def read_statement(data: bytes, *, subject: str) -> Statement:
    """Return the statement that signed bytes spell.

    Raises:
        Rejected: `evidence-invalid` for anything but the one spelling of a statement about one lock.
    """
    fields = strict_json(data, subject=subject, code="evidence-invalid", max_bytes=MAX_EVIDENCE_BYTES)
    statement = read_record(Statement, fields, subject=subject, code="evidence-invalid")
    if statement_bytes(statement) != data:
        raise Rejected(
            "evidence-invalid",
            subject=subject,
            expected="the canonical spelling of a statement (RFC 8785)",
            got="another spelling of the same statement",
            fix="get the file again from the evaluator: something has rewritten it",
        )
    return statement


def _resource(name: str, digest: str) -> Resource:
    """Return a thing by name and digest."""
    return Resource(name=name, digest={"sha256": digest.removeprefix("sha256:")})
