"""Typed records: strict, frozen, and free of torch.

Two kinds live here. Settings share `SETTINGS`: an unknown key is an error. Claims are models on `Claim`: what
a stranger's file says about a patch, where nothing is coerced, nothing is ignored and nothing is infinite. A
rule that concerns one record alone stands in the record; a rule between a record and other bytes stands with
their reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Configuration of every settings dataclass: an unknown key is an error, and so is NaN."""

NAME_PATTERN = "[a-z0-9][a-z0-9_-]{0,63}"
VERSION_PATTERN = r"(?:(?:0|[1-9][0-9]{0,8})\.){2}(?:0|[1-9][0-9]{0,8})"
DIGEST_PATTERN = "sha256:[0-9a-f]{64}"
RANGE_PATTERN = rf"\*|(?:==|>=|<=|>|<|\^){VERSION_PATTERN}(?:,(?:==|>=|<=|>|<|\^){VERSION_PATTERN}){{0,7}}"
LABEL_PATTERN = "[A-Za-z0-9][A-Za-z0-9 ._/@:+-]{0,127}"
# Terminal escapes, NUL and bidirectional overrides: text from a card is printed on terminals and in reports.
FORBIDDEN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

PAIRS_JUDGED_BY = "pairs_judged_by"
"""Key of a card's training settings: by risk, the judge that filtered the pairs."""

MAX_TOKENS = 4096
MAX_DIM = 65_536
MAX_EXPRESSION_CHARACTERS = 65_536


def _matching(pattern: str, meaning: str) -> Callable[[str], str]:
    """Return a check that a whole string fits `pattern` (`$` would let a final newline through)."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"must be {meaning}")
        return value

    return check


def _plain_text(value: str) -> str:
    """Return `value`, refusing characters that act on a terminal instead of being shown."""
    found = FORBIDDEN_TEXT.search(value)
    if found is not None:
        raise ValueError(f"must be plain text, without the control character {found.group()!a}")
    return value


def _plain_json(value: object) -> object:
    """Return `value` with tuples as lists, refusing what JSON cannot hold; settings come as Python values."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must hold finite numbers only")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain_json(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain_json(item) for key, item in value.items()}
    raise ValueError(f"must hold JSON values only, not {type(value).__name__}")


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values`, refusing a repetition."""
    if len(set(values)) != len(values):
        raise ValueError("must not repeat an entry")
    return values


Name = Annotated[str, AfterValidator(_matching(NAME_PATTERN, "1 to 64 of a-z, 0-9, _ and -, no sign first"))]
Version = Annotated[str, AfterValidator(_matching(VERSION_PATTERN, "MAJOR.MINOR.PATCH and nothing else, as 1.0.0"))]
Digest = Annotated[str, AfterValidator(_matching(DIGEST_PATTERN, "sha256: and 64 hex digits"))]
Range = Annotated[
    str, AfterValidator(_matching(RANGE_PATTERN, "* or comparisons such as >=1.2.0,<2.0.0 or ^1.2.0, without spaces"))
]
Label = Annotated[str, AfterValidator(_matching(LABEL_PATTERN, "1 to 128 plain characters (letters, digits, ._/@:+-)"))]
PlainText = Annotated[str, Field(max_length=4096), AfterValidator(_plain_text)]
Expression = Annotated[str, Field(max_length=MAX_EXPRESSION_CHARACTERS), AfterValidator(_plain_text)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0, lt=2**31)]


class Claim(BaseModel):
    """A record that a stranger's bytes may fill: unknown keys, coercions, NaN and changes are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class BaseRef(Claim):
    """The base model that a patch was made for.

    Attributes:
        name: What its makers call it; a hint for people, never compared.
        fingerprint: Digest of its weights, config, tokenizer and chat template; None when nobody recorded it.
        layers: Number of its transformer layers, which PEFT writes down too.
        heads: Number of its attention heads, likewise.
    """

    name: PlainText | None = None
    fingerprint: Digest | None = None
    layers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    heads: Annotated[int, Field(ge=1, le=10_000)] | None = None


class InitInfo(Claim):
    """What the prefix was before its first training step.

    Attributes:
        kind: Token embeddings of a text, of sampled vocabulary, Gaussian noise, or another patch.
        text: The text, for kind "text" alone.
        digest: Prefix digest of the initial matrix, so that patches from one start can be recognised.
    """

    kind: Literal["text", "vocab", "random", "patch"]
    text: PlainText | None = None
    digest: Digest

    @model_validator(mode="after")
    def _text_belongs_to_text(self) -> Self:
        if (self.kind == "text") != (self.text is not None):
            raise ValueError("an init has a text exactly when its kind is 'text'")
        return self


class ParentRef(Claim):
    """A patch that another one was made from: its name, version and prefix digest."""

    name: Name
    version: Version
    digest: Digest


class CardMetric(Claim):
    """One measured number with the direction that is better, and how many cases it was measured on."""

    value: Finite
    direction: Literal["lower", "higher"]
    n: Annotated[int, Field(ge=0)] | None = None


Logits = Annotated[tuple[Annotated[tuple[Finite, ...], Field(max_length=256)], ...], Field(max_length=64)]


class SelfTest(Claim):
    """Logits that prove on every load that the patch is active and right.

    Attributes:
        token_ids: The probe text as token ids.
        positions: Indices into the probe; the logits are those that predict the token after each.
        vocabulary: The few vocabulary entries whose logits are kept.
        patched: Logits behind the patch, [positions, vocabulary].
        base: Logits of the unpatched base at the same places.
        tolerance: Largest absolute difference that another machine or backend may show.
    """

    token_ids: Annotated[tuple[Index, ...], Field(min_length=1, max_length=512)]
    positions: Annotated[tuple[Index, ...], Field(min_length=1, max_length=64), AfterValidator(_distinct)]
    vocabulary: Annotated[tuple[Index, ...], Field(min_length=1, max_length=256), AfterValidator(_distinct)]
    patched: Logits
    base: Logits
    tolerance: Annotated[float, Field(gt=0, le=10)]

    @model_validator(mode="after")
    def _can_tell_patch_from_base(self) -> Self:
        if max(self.positions) >= len(self.token_ids):
            raise ValueError("a self-test's positions must lie within its probe")
        for logits in (self.patched, self.base):
            if len(logits) != len(self.positions) or {len(row) for row in logits} != {len(self.vocabulary)}:
                raise ValueError("a self-test needs one row per position and one logit per vocabulary entry")
        pairs = zip(self.patched, self.base, strict=True)
        if max(abs(p - b) for rows in pairs for p, b in zip(*rows, strict=True)) <= self.tolerance:
            raise ValueError("a self-test whose patched and base logits agree cannot show that the patch is active")
        return self


class Relation(Claim):
    """What a card says about other patches: those of this name whose version is in the range."""

    name: Name
    range: Range = "*"


def _not_said(value: object) -> bool:
    """Return whether a card leaves a relation out: one that has none keeps the bytes it had before there were any."""
    return value == ()


Relations = Annotated[tuple[Relation, ...], Field(max_length=64, exclude_if=_not_said), AfterValidator(_distinct)]


class CardDraft(Claim):
    """All that a card says except for the prefix itself: what whoever makes a patch fills in.

    Attributes:
        name: Name of the patch; with the version it is what people ask for.
        version: MAJOR.MINOR.PATCH.
        risks: The risks it is meant to mitigate.
        base: The base it was made for.
        init: What training started from; None for a composition or when nobody recorded it.
        strategy: How it came to be: a training strategy or an algebraic method.
        parents: The patches it was made from.
        expression: How an algebraic patch is recomputed from its leaves; None for a trained one.
        data: Name of each data set it was trained on -> digest.
        seed: Seed of its training.
        training: Settings of its training, as JSON.
        metrics: Name -> what was measured on it.
        self_test: Logits that prove it is active; None until they have been recorded.
        status: "unproven" when it, or a part of it, came without a card.
        requires: Patches that must stand in every composition with it; a patch that provides the name will do where
            the range is any.
        conflicts: Patches, or what others provide, that may not stand in a composition with it.
        breaks: Patches that it is known to undo; nobody who provides their name is meant.
        provides: Names that others may require or conflict with, beside its own.
    """

    name: Name
    version: Version = "0.1.0"
    risks: Annotated[tuple[Name, ...], Field(max_length=64), AfterValidator(_distinct)]
    base: BaseRef
    init: InitInfo | None = None
    strategy: Name
    parents: Annotated[tuple[ParentRef, ...], Field(max_length=1024)] = ()
    expression: Expression | None = None
    data: Mapping[Label, Digest] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    training: Annotated[Mapping[Label, JsonValue], BeforeValidator(_plain_json)] = Field(default_factory=dict)
    metrics: Mapping[Label, CardMetric] = Field(default_factory=dict)
    self_test: SelfTest | None = None
    status: Literal["proven", "unproven"] = "proven"
    requires: Relations = ()
    conflicts: Relations = ()
    breaks: Relations = ()
    provides: Annotated[tuple[Name, ...], Field(max_length=64, exclude_if=_not_said), AfterValidator(_distinct)] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.status == "proven" and self.base.fingerprint is None:
            raise ValueError("a proven patch must carry the fingerprint of its base")
        if self.expression is not None and not self.parents:
            raise ValueError("a patch with an expression must name its parents")
        if self.name in {relation.name for relation in (*self.requires, *self.conflicts, *self.breaks)}:
            raise ValueError("a patch can neither require, conflict with nor break itself")
        return self


class PatchCard(CardDraft):
    """What is known of one patch, bound to its matrix by digest.

    Attributes:
        schema_version: Layout of this record.
        tokens: Rows of the prefix.
        dim: Columns of the prefix: the width of the base's embeddings.
        prefix: Prefix digest.
    """

    schema_version: Literal[1] = 1
    tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    prefix: Digest

    @property
    def reference(self) -> ParentRef:
        """This patch as a later one names it among its parents."""
        return ParentRef(name=self.name, version=self.version, digest=self.prefix)
