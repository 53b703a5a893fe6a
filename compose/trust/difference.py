"""What is different between two locks, as lines that name what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from compose.trust.claims import GateClaim, Lock, LockedPatch


class Change(NamedTuple):
    """One difference.

    Attributes:
        what: What it is about, such as "patch toxicity".
        old: What the first lock says; None when it says nothing.
        new: What the second one says.
    """

    what: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        """Return the change as a line that starts with +, - or ~."""
        if self.old is None:
            return f"+ {self.what}: {self.new}"
        return f"- {self.what}: {self.old}" if self.new is None else f"~ {self.what}: {self.old} -> {self.new}"


def difference(old: Lock, new: Lock) -> tuple[Change, ...]:
    """Return what is different; nothing exactly when both locks have one digest."""
    return tuple(
        change
        for change in (*_heads(old, new), *_patches(old, new), *_gates(old, new), *_results(old, new))
        if change.old != change.new
    )


def _heads(old: Lock, new: Lock) -> Iterator[Change]:
    """Yield what is said once in each lock."""
    yield Change("composition", f"{old.name} {old.version}", f"{new.name} {new.version}")
    yield Change("base", f"{old.base.name} {old.base.fingerprint}", f"{new.base.name} {new.base.fingerprint}")
    yield Change("method", _method(old), _method(new))
    yield Change("suites", _listed(old.suites), _listed(new.suites))
    yield Change("signatures of authors", _asked(old), _asked(new))


def _patches(old: Lock, new: Lock) -> Iterator[Change]:
    """Yield the patches that came, went or changed, and the order of those that stayed."""
    before, after = ({patch.name: patch for patch in lock.patches} for lock in (old, new))
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        short = one is not None and other is not None and one.version != other.version
        said = [None if patch is None else _patch(patch, short=short) for patch in (one, other)]
        yield Change(f"patch {name}", said[0], said[1])
        if short and one and other and one.digest == other.digest:
            yield Change(f"card of {name}", one.card, other.card)
    stayed = [
        [patch.name for patch in lock.patches if patch.name in before and patch.name in after] for lock in (old, new)
    ]
    yield Change("order", _listed(stayed[0]), _listed(stayed[1]))


def _gates(old: Lock, new: Lock) -> Iterator[Change]:
    """Yield the gates that came and went; a gate that changed is one that went and one that came."""
    for gate in old.gates:
        if gate not in new.gates:
            yield Change("gate", _gate(gate), None)
    for gate in new.gates:
        if gate not in old.gates:
            yield Change("gate", None, _gate(gate))
    if set(old.gates) == set(new.gates):
        yield Change("order of the gates", _listed(map(_gate, old.gates)), _listed(map(_gate, new.gates)))


def _results(old: Lock, new: Lock) -> Iterator[Change]:
    """Yield what follows from the rest."""
    yield Change("tokens", str(old.result.tokens), str(new.result.tokens))
    yield Change("width", str(old.result.dim), str(new.result.dim))
    yield Change("result", old.result.digest, new.result.digest)
    yield Change("expression", old.result.expression, new.result.expression)
    yield Change("manifest", old.manifest, new.manifest)


def _method(lock: Lock) -> str:
    """Return the method with its parameters."""
    params = lock.method.model_dump(mode="json")["params"]
    return lock.method.name + (f" {json.dumps(params, sort_keys=True)}" if params else "")


def _asked(lock: Lock) -> str:
    """Return whether every patch must be signed."""
    return "required" if lock.require_signed_patches else "not required"


def _patch(patch: LockedPatch, *, short: bool) -> str:
    """Return a patch's version, and all that is pinned of it where the version does not tell it apart."""
    if short:
        return patch.version
    return f"{patch.version}, {patch.tokens} tokens, {patch.digest}, card {patch.card}, for {_listed(patch.risks)}"


def _gate(gate: GateClaim) -> str:
    """Return a gate on one line: what is not at its default."""
    fields: dict[str, Any] = gate.model_dump(exclude_defaults=True)
    return " ".join([fields.pop("metric"), *(f"{key}={value}" for key, value in fields.items())])


def _listed(values: Any) -> str:
    """Return some texts with commas."""
    return ", ".join(values) or "none"
