"""Which versions fulfil a manifest together: a pure function of the manifest and the cards, or why there are none.

A composition has exactly the patches that its manifest names, in its order, since order changes what the model does:
what a patch requires is never added unasked. Of all choices that fulfil the relations on the cards, the one taken has
the newest version of the first patch, then the newest of the second, and so on.

The search is backtracking that jumps back to the latest choice that could have mattered (Prosser 1993,
https://doi.org/10.1111/j.1467-8640.1993.tb00310.x); it skips only choices without a solution, so what it finds first is
what plain enumeration would have found first.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from compose.errors import Rejected
from compose.records import Relation
from compose.trust.claims import Manifest, WantedPatch
from compose.trust.ranges import ANY, admits, number
from compose.trust.store import Stored

MAX_STEPS = 20_000
"""Versions tried in one search, about a second's worth; a manifest of real patches takes a few dozen."""
MAX_REASONS = 12

Universe = Mapping[str, Sequence[Stored]]
Kind = Literal["requires", "conflicts", "breaks"]
KINDS: tuple[Kind, ...] = ("requires", "conflicts", "breaks")
_WORDS = {"requires": "requires", "conflicts": "conflicts with", "breaks": "breaks"}


class Fact(NamedTuple):
    """A relation on the cards of one name, in whichever versions it stands there."""

    owner: str
    kind: Kind
    relation: Relation


def resolve(manifest: Manifest, universe: Universe) -> tuple[Stored, ...]:
    """Return the newest versions that fulfil a manifest together, in its order.

    Args:
        manifest: What is asked for.
        universe: Every patch at hand, by name.

    Raises:
        Rejected: `resolve-impossible`, saying why; `resolve-too-hard` after `MAX_STEPS` tries.
    """
    domains = [_admitted(manifest, wanted, universe) for wanted in manifest.patches]
    absent = [
        _why_none(manifest, wanted, universe)
        for wanted, domain in zip(manifest.patches, domains, strict=True)
        if not domain
    ]
    if absent:
        raise _impossible(manifest, absent, "correct the name or the range, or add the patch with `compose add`")
    try:
        found = _Search(domains).run()
    except _TooHard as error:
        raise Rejected(
            "resolve-too-hard",
            subject=f"manifest {manifest.name} {manifest.version}",
            expected=f"an answer after {MAX_STEPS} tries",
            got="relations that allow and forbid too much at once",
            fix="narrow the ranges of some patches, or pin their versions with ==",
        ) from error
    if found is None:
        facts = _core(domains)
        raise _impossible(manifest, _because(manifest, facts, domains), _cure(manifest, facts))
    return found


def objections(manifest: Manifest, chosen: Sequence[Stored]) -> tuple[str, ...]:
    """Return why a manifest does not admit a choice of patches; nothing when it does."""
    names = [stored.card.name for stored in chosen]
    wanted = [patch.name for patch in manifest.patches]
    if names != wanted:
        return (f"the manifest names {', '.join(wanted)}, in this order, and not {', '.join(names)}",)
    found = [
        f"{stored.label} {reason}"
        for patch, stored in zip(manifest.patches, chosen, strict=True)
        if (reason := _left_out(manifest, patch, stored)) is not None
    ]
    return (*found, *(_said(stored, kind, relation) for stored, kind, relation in broken_relations(chosen)))


def broken_relations(chosen: Sequence[Stored]) -> Iterator[tuple[Stored, Kind, Relation]]:
    """Yield every relation that a set of patches does not fulfil, with the patch whose card says it."""
    for stored in chosen:
        others = [other for other in chosen if other is not stored]
        for kind, relation in relations_of(stored):
            if any(concerns(kind, relation, other) for other in others) != (kind == "requires"):
                yield stored, kind, relation


def relations_of(stored: Stored) -> Iterator[tuple[Kind, Relation]]:
    """Yield the relations on a patch's card."""
    for kind in KINDS:
        for relation in getattr(stored.card, kind):
            yield kind, relation


def concerns(kind: Kind, relation: Relation, other: Stored) -> bool:
    """Return whether a relation is about another patch: by name and version, or by what it provides or is made of.

    What a patch provides has no version, so it answers relations to any version alone; and `breaks` is about patches of
    that very name. What must not stand beside a patch must not do so inside a composition either; but a part of a mean
    may be little of it, so a requirement is not met by parts.
    """
    if other.card.name == relation.name and _admits(relation.range, other.card.version):
        return True
    if kind != "breaks" and relation.range == ANY and relation.name in other.card.provides:
        return True
    parts = other.card.parents if kind != "requires" and other.card.expression is not None else ()
    return any(part.name == relation.name and _admits(relation.range, part.version) for part in parts)


_admits = lru_cache(maxsize=65_536)(admits)


class _Search:
    """One search over the versions of every patch; relations in `ignored` are not looked at."""

    def __init__(
        self, domains: Sequence[Sequence[Stored]], ignored: frozenset[Fact] = frozenset(), steps: int = 0
    ) -> None:
        self.domains = domains
        self.ignored = ignored
        self.chosen: list[Stored] = []
        self.steps = steps

    def run(self) -> tuple[Stored, ...] | None:
        """Return the first choice in order of preference, or None when there is none."""
        return tuple(self.chosen) if self._extend() is None else None

    def _extend(self) -> set[int] | None:
        """Return None when all patches are chosen, and else the positions whose choices made that impossible."""
        at = len(self.chosen)
        if at == len(self.domains):
            return None
        to_blame: set[int] = set()
        for candidate in self.domains[at]:
            self._count()
            self.chosen.append(candidate)
            blamed = self._clash(at)
            if blamed is None:
                blamed = self._extend()
                if blamed is None:
                    return None
                if at not in blamed:  # no other version of this patch would have helped
                    self.chosen.pop()
                    return blamed
            to_blame |= blamed - {at}
            self.chosen.pop()
        return to_blame

    def _clash(self, last: int) -> set[int] | None:
        """Return the positions that rule the choice out since the last one was made, or None when nothing does."""
        newest = self.chosen[last]
        for position, stored in enumerate(self.chosen[:last]):
            if self._forbids(stored, newest) or self._forbids(newest, stored):
                return {position, last}
        for position, stored in enumerate(self.chosen):
            for relation in self._relations(stored, "requires"):
                blamed = self._unmet(position, relation)
                if blamed is not None:
                    return blamed
        return None

    def _forbids(self, one: Stored, other: Stored) -> bool:
        """Return whether one patch's card rules another out."""
        return any(
            concerns(kind, relation, other)
            for kind in ("conflicts", "breaks")
            for relation in self._relations(one, kind)
        )

    def _unmet(self, owner: int, relation: Relation) -> set[int] | None:
        """Return who is to blame for a requirement that can no longer be met, or None while it is or can be."""
        blamed = {owner}
        for position, domain in enumerate(self.domains):
            if position == owner:
                continue
            candidates = domain if position >= len(self.chosen) else [self.chosen[position]]
            if any(concerns("requires", relation, candidate) for candidate in candidates):
                return None
            if any(concerns("requires", relation, candidate) for candidate in domain):
                blamed.add(position)
        return blamed

    def _relations(self, stored: Stored, kind: Kind) -> Iterator[Relation]:
        """Yield the relations of one kind on a card that are looked at."""
        for relation in getattr(stored.card, kind):
            if not self.ignored or Fact(stored.card.name, kind, relation) not in self.ignored:
                yield relation

    def _count(self) -> None:
        """Count a try, and stop at one too many."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _TooHard


class _TooHard(Exception):
    """More than `MAX_STEPS` versions were tried."""


def _admitted(manifest: Manifest, wanted: WantedPatch, universe: Universe) -> tuple[Stored, ...]:
    """Return the versions of a patch that the manifest itself admits, the newest first."""
    found = [stored for stored in universe.get(wanted.name, ()) if _left_out(manifest, wanted, stored) is None]
    return tuple(sorted(found, key=lambda stored: number(stored.card.version), reverse=True))


def _left_out(manifest: Manifest, wanted: WantedPatch, stored: Stored) -> str | None:
    """Return why a manifest does not admit a version, whatever else is chosen; None when it does."""
    if not _admits(wanted.range, stored.card.version):
        return f"is not in {wanted.range}"
    if wanted.digest is not None and stored.card.prefix != wanted.digest:
        return f"has the digest {stored.card.prefix} and not {wanted.digest}"
    if stored.card.base.fingerprint != manifest.base.fingerprint:
        return f"is for the base {stored.card.base.fingerprint or '(nobody recorded which)'}"
    return None


def _why_none(manifest: Manifest, wanted: WantedPatch, universe: Universe) -> str:
    """Return why no version of a patch is admitted."""
    versions = universe.get(wanted.name, ())
    if versions:
        return "; ".join(f"{stored.label} {_left_out(manifest, wanted, stored)}" for stored in versions)
    nearest = difflib.get_close_matches(wanted.name, universe, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else ""
    return f"{wanted.name} is not in the store{hint}"


def _core(domains: Sequence[Sequence[Stored]]) -> tuple[Fact, ...]:
    """Return relations that alone leave no choice; none of them could be dropped, unless finding out takes too long."""
    facts = dict.fromkeys(
        Fact(stored.card.name, kind, relation)
        for domain in domains
        for stored in domain
        for kind, relation in relations_of(stored)
    )
    dropped: frozenset[Fact] = frozenset()
    steps = 0
    for fact in facts:
        search = _Search(domains, dropped | {fact}, steps)
        try:
            if search.run() is None:
                dropped |= {fact}
        except _TooHard:
            break
        steps = search.steps
    return tuple(fact for fact in facts if fact not in dropped)


def _because(manifest: Manifest, facts: Iterable[Fact], domains: Sequence[Sequence[Stored]]) -> Iterator[str]:
    """Yield the sentences of an explanation: the relations, and the versions that there are."""
    by_name = {wanted.name: domain for wanted, domain in zip(manifest.patches, domains, strict=True)}
    involved: dict[str, None] = {}
    for fact in facts:
        saying = [stored for stored in by_name[fact.owner] if fact.relation in getattr(stored.card, fact.kind)]
        yield _said(saying[0], fact.kind, fact.relation, [stored.card.version for stored in saying])
        answering = [
            name
            for name, domain in by_name.items()
            if name != fact.owner
            and (fact.relation.name == name or any(fact.relation.name in one.card.provides for one in domain))
        ]
        if fact.kind == "requires" and not answering:
            yield f"the manifest has no {fact.relation.name}"
        involved |= dict.fromkeys([fact.owner, *answering])
    for name in involved:
        yield f"of {name} the manifest admits {' and '.join(one.card.version for one in by_name[name])}"


def _said(stored: Stored, kind: Kind, relation: Relation, versions: Sequence[str] = ()) -> str:
    """Return a relation as a sentence."""
    range_ = "" if relation.range == ANY else f" {relation.range}"
    listed = " and ".join(versions) or stored.card.version
    return f"{stored.card.name} {listed} {_WORDS[kind]} {relation.name}{range_}"


def _cure(manifest: Manifest, facts: Iterable[Fact]) -> str:
    """Return what to do about relations that leave no choice."""
    named = {wanted.name for wanted in manifest.patches}
    for fact in facts:
        if fact.kind == "requires" and fact.relation.name not in named:
            return f"add {fact.relation.name} to the manifest's patches, at the place where it should stand"
    return "widen a range, leave one of the patches out, or add another version with `compose add`"


def _impossible(manifest: Manifest, reasons: Iterable[str], fix: str) -> Rejected:
    """Return the error about a manifest that nothing fulfils."""
    listed = list(reasons)
    if len(listed) > MAX_REASONS:
        listed[MAX_REASONS:] = [f"of {len(listed) - MAX_REASONS} more reasons like these"]
    return Rejected(
        "resolve-impossible",
        subject=f"manifest {manifest.name} {manifest.version}",
        expected="for each patch a version in its range, for this base, that goes with the others",
        got="none, because " + "; because ".join(listed),
        fix=fix,
    )
