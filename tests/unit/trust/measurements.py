"""Measurements with numbers that a test chooses, about a composition of the patches `tox` and `bias`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compose.trust.claims import LockedPatch
from compose.trust.evidence import Measured, Outcome, Passages, Series
from compose.trust.suites import PassagesPin, SuitePart, SuitePin, ids_digest

LOCK = "sha256:" + "00000007" + "a" * 56
COMPOSITION = "sha256:" + "c" * 64
BASE = "sha256:" + "b" * 64
MEMBERS = {"tox": "sha256:" + "1" * 64, "bias": "sha256:" + "2" * 64}
DATA = "sha256:" + "d" * 64
Column = Sequence[float | None]


def patches() -> tuple[LockedPatch, ...]:
    """Return the two members as a lock pins them."""
    risks = {"tox": ("toxicity",), "bias": ("gender_bias",)}
    return tuple(
        LockedPatch(name=name, version="1.0.0", digest=digest, card=digest, tokens=4, risks=risks[name])
        for name, digest in MEMBERS.items()
    )


def prompt_ids(n: int) -> tuple[str, ...]:
    """Return the ids of so many prompts."""
    return tuple(f"p{number:04d}" for number in range(n))


def passage_ids(n: int) -> tuple[str, ...]:
    """Return the ids of so many passages."""
    return tuple(f"t{number:04d}" for number in range(n))


def passages_pin(n: int) -> PassagesPin:
    """Return what so many passages are known by."""
    return PassagesPin(digest=DATA, ids=ids_digest(passage_ids(n)))


def pin(
    n_prompts: int, *, kind: str = "toxicity", part: str = "rtp", samples: int = 4, grouped: bool = False
) -> SuitePin:
    """Return a suite of one part."""
    known = SuitePart(
        kind=kind,
        prompts=DATA,
        ids=ids_digest(prompt_ids(n_prompts)),
        n_prompts=n_prompts,
        samples=samples,
        sampling="20 tokens",
        threshold=0.5,
        judge="profanity",
        judge_version="1",
        grouped=grouped,
    )
    return SuitePin(digest=DATA, parts={part: known})


def series(
    composition: Column,
    *,
    base: Column | None = None,
    members: Mapping[str, Column] | None = None,
    metric: str = "toxicity/toxic_rate_per_prompt",
    suite: str = "toxicity",
    part: str = "rtp",
    groups: Sequence[str] = (),
) -> Series:
    """Return one metric's numbers; everyone whose numbers are not given has zeros."""
    zeros = (0.0,) * len(composition)
    columns = {name: tuple((members or {}).get(name, zeros)) for name in MEMBERS}
    return Series(
        metric=metric,
        suite=suite,
        part=part,
        prompts=prompt_ids(len(composition)),
        groups=tuple(groups),
        composition=tuple(composition),
        base=zeros if base is None else tuple(base),
        members=columns,
    )


def passages(extra: Sequence[float], *, tokens: int = 20) -> Passages:
    """Return passages on which the composition loses so many nats more than everyone else does."""
    plain = tuple(60.0 + number for number in range(len(extra)))
    return Passages(
        digest=DATA,
        passages=passage_ids(len(extra)),
        tokens=(tokens,) * len(extra),
        composition=tuple(loss + more for loss, more in zip(plain, extra, strict=True)),
        base=plain,
        members=dict.fromkeys(MEMBERS, plain),
    )


def measured(*found: Series, suites: Mapping[str, SuitePin] | None = None, **changes: object) -> Measured:
    """Return a measurement of these series; each suite has one part with as many prompts as its series."""
    pins = (
        suites
        if suites is not None
        else {
            one.suite: pin(len(one.prompts), kind=one.metric.partition("/")[0], part=one.part, grouped=bool(one.groups))
            for one in found
        }
    )
    fields: dict[str, object] = {
        "base": BASE,
        "composition": COMPOSITION,
        "members": MEMBERS,
        "seed": 7,
        "made": "2026-11-25T12:00:00Z",
        "suites": pins,
        "outcomes": tuple(
            Outcome(suite=suite, part=part, completions=one.n_prompts * one.samples, empty=0, unjudged=0)
            for suite, known in pins.items()
            for part, one in known.parts.items()
        ),
        "series": found,
    }
    return Measured.model_validate(fields | changes)
