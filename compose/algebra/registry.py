"""The methods by name, and what can be done by name: applying one, and recomputing an expression.

A new method is a file beside this one and a line in `METHODS`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence

from compose.algebra.concat import concat
from compose.algebra.expression import Call, Expression, Leaf, parse
from compose.algebra.mean import mean
from compose.algebra.result import Method, P, refuse
from compose.algebra.slice import slice
from compose.algebra.sum import sum
from compose.errors import Rejected


def _concat(patches: Sequence[P]) -> P:
    """Return the concatenation of a sequence."""
    return concat(*patches)


def _slice(patches: Sequence[P], start: int, stop: int) -> P:
    """Return the slice of a sequence of one patch."""
    if len(patches) != 1:
        refuse("slice", expected="one patch", got=f"{len(patches)}", fix="slice each patch by itself")
    return slice(patches[0], start, stop)


METHODS: dict[str, Method] = {"concat": _concat, "mean": mean, "sum": sum, "slice": _slice}
"""Name -> method(patches, **params). The names stand in cards: none is ever given a new meaning."""


def apply(method: str, patches: Sequence[P], **params: object) -> P:
    """Return the patch that a method makes of `patches`.

    Raises:
        Rejected: `composition-invalid`, also for an unknown method or parameter; `base-mismatch`;
            `prefix-invalid`.
    """
    if method not in METHODS:
        nearest = difflib.get_close_matches(method[:40], METHODS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "choose one of them"
        refuse(method[:40], expected=f"one of {', '.join(METHODS)}", got=ascii(method[:40]), fix=hint)
    signature = inspect.signature(METHODS[method])
    try:
        signature.bind(patches, **params)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:]) or "none"
        refuse(method, expected=f"the parameters {names}", got=str(error), fix="correct the parameters")
    result: P = METHODS[method](patches, **params)
    return result


def recompute(expression: str | Expression, resolve: Callable[[str], P]) -> P:
    """Return the patch that an expression describes, made anew from its leaves.

    Args:
        expression: The expression of a card, or an expression already read.
        resolve: Digest -> the patch whose prefix has it; it raises for one that it does not know.

    Raises:
        Rejected: `expression-invalid`; `expression-mismatch` when `resolve` answers with another patch; and
            as the methods do.
    """
    node = parse(expression) if isinstance(expression, str) else expression
    if isinstance(node, Leaf):
        return _resolved(node, resolve)
    return _called(node, resolve)


def _called(node: Call, resolve: Callable[[str], P]) -> P:
    """Return the result of a call whose parts and leaf parameters are recomputed first."""
    parts = [recompute(part, resolve) for part in node.parts]
    params = {key: _resolved(value, resolve) if isinstance(value, Leaf) else value for key, value in node.params}
    return apply(node.method, parts, **params)


def _resolved(leaf: Leaf, resolve: Callable[[str], P]) -> P:
    """Return the patch of a leaf, its digest checked."""
    patch = resolve(leaf.digest)
    if patch.card.prefix != leaf.digest:
        raise Rejected(
            "expression-mismatch",
            subject=f"leaf {leaf.name}",
            expected=leaf.digest,
            got=patch.card.prefix,
            fix="check where leaves are looked up: the digest and not the name identifies a patch",
        )
    return patch
