"""The resolver: against enumeration on random universes, and in its explanations."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from compose.errors import Rejected
from compose.records import PatchCard
from compose.trust import resolve as resolving
from compose.trust.claims import Manifest
from compose.trust.resolve import objections, resolve
from compose.trust.store import Stored

BASE = "sha256:" + "b" * 64
UNIVERSES = 1000


def digest_of(*words: object) -> str:
    return "sha256:" + "".join(f"{byte:02x}" for byte in random.Random(repr(words)).randbytes(32))


def stored(name: str, version: str, *, base: str | None = BASE, **relations: Any) -> Stored:
    fields = {"name": name, "version": version, "risks": (), "base": {"fingerprint": base}, "strategy": "dpo"}
    status = "proven" if base else "unproven"
    shape = {"tokens": 2, "dim": 8, "prefix": digest_of(name, version), "status": status}
    return Stored(PatchCard.model_validate({**fields, **shape, **relations}), digest_of("card", name, version))


def manifest(*patches: tuple[str, str] | dict[str, Any]) -> Manifest:
    wanted = tuple(one if isinstance(one, dict) else {"name": one[0], "range": one[1]} for one in patches)
    return Manifest.model_validate(
        {
            "schema_version": 1,
            "name": "both",
            "version": "1.0.0",
            "base": {"name": "tiny", "fingerprint": BASE},
            "method": {"name": "concat"},
            "patches": wanted,
            "gates": ({"metric": "gender_bias/gas", "limit": 0.1},),
        }
    )


def universe(*patches: Stored) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = {}
    for one in patches:
        found.setdefault(one.card.name, []).append(one)
    return found


def labels(found: Sequence[Stored]) -> list[str]:
    return [one.label for one in found]


# The oracle: every choice in order of preference, each judged by rules written down once more.


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
    "<": operator.lt,
    "^": lambda mine, bound: mine >= bound and mine[0] == bound[0],
}


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def within(range_: str, version: str) -> bool:
    if range_ == "*":
        return True
    mine = as_numbers(version)
    for part in range_.split(","):
        bound = as_numbers(part.lstrip("=<>^"))
        sign = part[: len(part) - len(part.lstrip("=<>^"))]
        if not SIGNS[sign](mine, bound):
            return False
    return True


def fulfilled(choice: Sequence[Stored]) -> bool:
    for one in choice:
        rest = [other for other in choice if other.card.name != one.card.name]
        for need in one.card.requires:
            named = [o for o in rest if o.card.name == need.name and within(need.range, o.card.version)]
            virtual = [o for o in rest if need.range == "*" and need.name in o.card.provides]
            if not named and not virtual:
                return False
        for clash in one.card.conflicts:
            if any(o.card.name == clash.name and within(clash.range, o.card.version) for o in rest):
                return False
            if clash.range == "*" and any(clash.name in o.card.provides for o in rest):
                return False
        for clash in one.card.breaks:
            if any(o.card.name == clash.name and within(clash.range, o.card.version) for o in rest):
                return False
    return True


def by_enumeration(wanted: Manifest, patches: Mapping[str, Sequence[Stored]]) -> list[str] | None:
    domains = []
    for one in wanted.patches:
        versions = [
            s
            for s in patches.get(one.name, ())
            if within(one.range, s.card.version) and s.card.base.fingerprint == BASE
        ]
        domains.append(sorted(versions, key=lambda s: as_numbers(s.card.version), reverse=True))
    return next((labels(choice) for choice in itertools.product(*domains) if fulfilled(choice)), None)


RANGES = ["*", "*", ">=1.1.0", "<2.0.0", "^1.0.0", "==1.10.0", ">=1.0.0,<1.10.0", ">2.0.0"]
VERSIONS = ["1.0.0", "1.1.0", "1.10.0", "2.0.0"]
NAMES = ["a", "b", "c", "d", "e", "f"]


def random_relations(draw: random.Random, name: str, density: float) -> dict[str, Any]:
    others = [other for other in (*NAMES, "virtual") if other != name]
    relations: dict[str, Any] = {}
    for kind, share in (("requires", 0.5), ("conflicts", 0.7), ("breaks", 0.5)):
        chosen = {draw.choice(others): draw.choice(RANGES) for _ in range(2) if draw.random() < share * density}
        relations[kind] = tuple({"name": other, "range": range_} for other, range_ in chosen.items())
    provided = [other for other in ("virtual", draw.choice(others)) if draw.random() < 0.15]
    return {**relations, "provides": tuple(dict.fromkeys(provided))}


def random_universe(draw: random.Random) -> tuple[Manifest, dict[str, list[Stored]]]:
    names = NAMES[: draw.randint(1, 6)]
    density = draw.choice([0.2, 0.5, 1.0])
    patches = [
        stored(
            name, version, base=draw.choice([BASE] * 9 + [digest_of("other")]), **random_relations(draw, name, density)
        )
        for name in NAMES
        for version in draw.sample(VERSIONS, draw.randint(1, 4))
    ]
    draw.shuffle(patches)
    draw.shuffle(names)
    return manifest(*((name, draw.choice(RANGES[:5])) for name in names)), universe(*patches)


def universes() -> Iterator[tuple[Manifest, dict[str, list[Stored]]]]:
    draw = random.Random(20261125)
    return (random_universe(draw) for _ in range(UNIVERSES))


def test_the_resolver_finds_what_enumeration_finds_first() -> None:
    solved = unsolved = 0
    for wanted, patches in universes():
        expected = by_enumeration(wanted, patches)
        try:
            found: list[str] | None = labels(resolve(wanted, patches))
        except Rejected as error:
            assert error.code == "resolve-impossible"
            found = None
        assert found == expected
        solved, unsolved = solved + (found is not None), unsolved + (found is None)

    assert min(solved, unsolved) > UNIVERSES / 5  # both answers are really tried


def test_a_choice_is_objected_to_exactly_when_it_is_no_solution() -> None:
    draw = random.Random(7)
    agreed = {True: 0, False: 0}
    for wanted, patches in itertools.islice(universes(), 300):
        if any(one.name not in patches for one in wanted.patches):
            continue
        choice = [draw.choice(patches[one.name]) for one in wanted.patches]
        good = fulfilled(choice) and all(
            within(one.range, s.card.version) and s.card.base.fingerprint == BASE
            for one, s in zip(wanted.patches, choice, strict=True)
        )
        assert (objections(wanted, choice) == ()) == good
        agreed[good] += 1

    assert min(agreed.values()) > 20


def test_no_relation_of_an_explanation_could_be_left_out() -> None:
    explained = 0
    for wanted, patches in itertools.islice(universes(), 300):
        domains = [resolving._admitted(wanted, one, patches) for one in wanted.patches]
        if not all(domains) or resolving._Search(domains).run() is not None:
            continue
        core = frozenset(resolving._core(domains))
        every = {
            resolving.Fact(one.card.name, kind, relation)
            for domain in domains
            for one in domain
            for kind, relation in resolving.relations_of(one)
        }
        assert resolving._Search(domains, frozenset(every - core)).run() is None
        for fact in core:
            assert resolving._Search(domains, frozenset(every - core) | {fact}).run() is not None
        explained += 1

    assert explained > 50


def refusal(wanted: Manifest, *patches: Stored) -> Rejected:
    with pytest.raises(Rejected) as error:
        resolve(wanted, universe(*patches))
    assert error.value.code == "resolve-impossible"
    return error.value


def test_the_newest_versions_are_taken_in_the_order_of_the_manifest() -> None:
    patches = universe(
        stored("a", "1.9.0"),
        stored("a", "1.10.0", conflicts=({"name": "b", "range": ">=2.0.0"},)),
        stored("b", "1.0.0"),
        stored("b", "2.0.0"),
    )

    assert labels(resolve(manifest(("a", "*"), ("b", "*")), patches)) == ["a 1.10.0", "b 1.0.0"]
    assert labels(resolve(manifest(("b", "*"), ("a", "*")), patches)) == ["b 2.0.0", "a 1.9.0"]


def test_mutual_requirements_and_providers_are_met() -> None:
    patches = universe(
        stored("a", "1.0.0", requires=({"name": "b", "range": "^1.0.0"},)),
        stored("b", "1.0.0", requires=({"name": "a", "range": "*"}, {"name": "guard", "range": "*"})),
        stored("c", "1.0.0", provides=("guard",)),
    )

    assert len(resolve(manifest(("a", "*"), ("b", "*"), ("c", "*")), patches)) == 3


def test_two_providers_of_one_name_may_exclude_each_other() -> None:
    only: dict[str, Any] = {"conflicts": ({"name": "guard", "range": "*"},), "provides": ("guard",)}
    error = refusal(manifest(("a", "*"), ("b", "*")), stored("a", "1.0.0", **only), stored("b", "1.0.0", **only))

    assert "conflicts with guard" in error.got


def test_a_conflict_is_explained_with_the_versions_that_there_are() -> None:
    error = refusal(
        manifest(("tox", "^1.2.0"), ("bias", ">=2.0.0")),
        stored("tox", "1.1.0"),
        stored("tox", "1.2.0", conflicts=({"name": "bias", "range": ">=2.0.0"},)),
        stored("bias", "1.0.0"),
        stored("bias", "2.1.0"),
        stored("bias", "2.0.0"),
    )

    assert error.got == (
        "none, because tox 1.2.0 conflicts with bias >=2.0.0; because of tox the manifest admits 1.2.0; "
        "because of bias the manifest admits 2.1.0 and 2.0.0"
    )


def test_a_requirement_that_the_manifest_lacks_is_named_with_its_cure() -> None:
    error = refusal(
        manifest(("tox", "*")),
        stored("tox", "1.0.0", requires=({"name": "guard", "range": "*"},)),
        stored("guard", "1.0.0"),
    )

    assert "tox 1.0.0 requires guard; because the manifest has no guard" in error.got
    assert error.fix.startswith("add guard to the manifest's patches")


def test_a_composition_is_no_way_around_a_conflict() -> None:
    part = {"name": "bias", "version": "2.1.0", "digest": digest_of("part")}
    made = stored("both", "1.0.0", parents=(part,), expression="concat(bias@sha256:...)")
    trained_on = stored("next", "1.0.0", parents=(part,))
    for kind in ("conflicts", "breaks"):
        relation: dict[str, Any] = {kind: ({"name": "bias", "range": ">=2.0.0"},)}
        older: dict[str, Any] = {kind: ({"name": "bias", "range": "<2.0.0"},)}
        refusal(manifest(("tox", "*"), ("both", "*")), stored("tox", "1.0.0", **relation), made)
        assert len(resolve(manifest(("tox", "*"), ("both", "*")), universe(stored("tox", "1.0.0", **older), made))) == 2
        # A patch that was trained on from another one is another patch.
        assert (
            len(
                resolve(manifest(("tox", "*"), ("next", "*")), universe(stored("tox", "1.0.0", **relation), trained_on))
            )
            == 2
        )
    refusal(manifest(("tox", "*"), ("both", "*")), stored("tox", "1.0.0", requires=({"name": "bias"},)), made)


def test_each_version_that_is_left_out_says_why() -> None:
    error = refusal(
        manifest(("toxicty", "*"), ("bias", "^2.0.0"), {"name": "harm", "digest": digest_of("other")}),
        stored("toxicity", "1.0.0"),
        stored("bias", "1.0.0"),
        stored("bias", "2.0.0", base=None),
        stored("harm", "1.0.0"),
    )

    assert "toxicty is not in the store, did you mean 'toxicity'?" in error.got
    assert "bias 1.0.0 is not in ^2.0.0" in error.got
    assert "bias 2.0.0 is for the base (nobody recorded which)" in error.got
    assert "harm 1.0.0 has the digest" in error.got


def pigeons(count: int, holes: int) -> tuple[Manifest, dict[str, list[Stored]]]:
    """Patches, each of which must take one of some versions that exclude each other."""
    versions = [f"1.{number}.0" for number in range(holes)]
    names = [f"p{number}" for number in range(count)]
    patches = [
        stored(name, version, conflicts=tuple({"name": o, "range": f"=={version}"} for o in names if o != name))
        for name in names
        for version in versions
    ]
    return manifest(*((name, "*") for name in names)), universe(*patches)


def test_a_search_without_end_is_given_up() -> None:
    with pytest.raises(Rejected) as error:
        resolve(*pigeons(10, 9))
    assert error.value.code == "resolve-too-hard"


def test_an_explanation_without_end_is_cut() -> None:
    with pytest.raises(Rejected) as error:
        resolve(*pigeons(6, 5))
    assert error.value.code == "resolve-impossible"
    assert error.value.got.count("because") == resolving.MAX_REASONS + 1
    assert "more reasons like these" in error.value.got


def test_a_patch_has_no_relation_to_itself() -> None:
    for kind in ("requires", "conflicts", "breaks"):
        relation: dict[str, Any] = {kind: ({"name": "a", "range": "*"},)}
        with pytest.raises(ValueError, match="itself"):
            stored("a", "1.0.0", **relation)
