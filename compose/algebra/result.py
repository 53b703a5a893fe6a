"""What every algebraic method shares: which patches may meet, exact sums, and the card of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from compose.algebra.expression import MAX_DEPTH, Call, Expression, Leaf, Value, depth, parse
from compose.errors import Rejected
from compose.parse import make_record
from compose.patch_files import AnyPatch, new_card, values_digest
from compose.prefix_bytes import check_prefix
from compose.records import MAX_EXPRESSION_CHARACTERS, CardDraft, InitInfo, Relation

MAX_NAME_CHARACTERS = 64

P = TypeVar("P", bound=AnyPatch)
"""The kind of patch that goes in and comes out: with torch or without."""

Method = Callable[..., Any]
"""A method as the registry knows it: called with a sequence of patches, and its parameters by name."""


def refuse(method: str, *, expected: str, got: str, fix: str) -> NoReturn:
    """Refuse a composition.

    Raises:
        Rejected: `composition-invalid`.
    """
    raise Rejected("composition-invalid", subject=f"{method} of patches", expected=expected, got=got, fix=fix)


def check_parts(method: str, patches: Sequence[AnyPatch], *, same_shape: bool = False) -> None:
    """Refuse patches that were not made for one base, differ in width or, where that matters, in length.

    Raises:
        Rejected: `base-mismatch` or `composition-invalid`.
    """
    if not patches:
        refuse(method, expected="at least one patch", got="none", fix="name the patches to compose")
    first = patches[0].card
    for card in (patch.card for patch in patches):
        if card.base.fingerprint is None or card.base.fingerprint != first.base.fingerprint:
            raise Rejected(
                "base-mismatch",
                subject=f"{method} of {first.name} and {card.name}",
                expected=f"patches of one known base ({first.base.fingerprint or 'none is recorded'})",
                got=f"{card.name} is for {card.base.fingerprint or 'a base that nobody recorded'}",
                fix="compose patches of one base; say the base of one that came without a card with adopt()",
            )
        same = (card.tokens, card.dim) == (first.tokens, first.dim) if same_shape else card.dim == first.dim
        if not same:
            refuse(
                method,
                expected=f"{first.name}'s {'shape' if same_shape else 'width'}, {first.tokens} x {first.dim}",
                got=f"{card.name} is {card.tokens} x {card.dim}",
                fix="slice() the longer patch, or concat() patches of different lengths",
            )


def exact_sum(terms: Sequence[tuple[float, AnyPatch]]) -> Float[ndarray, "tokens dim"]:
    """Return the float64 sum of weight * prefix, the same to the last bit whatever order the terms come in.

    Terms of weight 0 are left out and the sum starts from its first term, so that -0.0 keeps its sign.
    Product and addition are separate operations: a fused one rounds differently from machine to machine.
    """
    ordered = sorted(terms, key=lambda term: (term[1].card.prefix, term[0]))
    products = [patch.values.astype(np.float64) * weight for weight, patch in ordered if weight != 0.0]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


def leaf_or_expression(patch: AnyPatch) -> Expression:
    """Return how a patch was made if that can be recomputed, and else the patch itself as a leaf."""
    if patch.card.expression is not None:
        return parse(patch.card.expression)
    return Leaf(patch.card.name, patch.card.prefix)


def composed(
    method: str,
    values: Float[ndarray, "tokens dim"],
    patches: Sequence[P],
    *,
    params: Sequence[tuple[str, Value]] = (),
    init: InitInfo | None = None,
) -> P:
    """Return the patch of a method's result: float32, with parents, expression, and all risks in order.

    Args:
        method: Name of the method in the registry.
        values: Its result, float64.
        patches: What it was applied to, in order.
        params: Its parameters, as they stand in the expression.
        init: The start that the result still shares with its parts.

    Raises:
        Rejected: `prefix-invalid` when the result cannot be a prefix; `expression-invalid` when it is made of
            too many parts to be written down.
    """
    expression = Call(method, tuple(map(leaf_or_expression, patches)), tuple(params))
    text = str(expression)
    if depth(expression) > MAX_DEPTH or len(text) > MAX_EXPRESSION_CHARACTERS:
        raise Rejected(
            "expression-invalid",
            subject=f"{method} of patches",
            expected=f"at most {MAX_DEPTH} nested calls and {MAX_EXPRESSION_CHARACTERS} characters",
            got=f"{depth(expression)} nested calls and {len(text)} characters",
            fix="compose fewer patches at once, or distil some of them into one first",
        )
    cards = [patch.card for patch in patches]
    with np.errstate(over="ignore"):  # an infinity is refused below
        rounded = values.astype(np.float32)
    name = _name(method, [card.name for card in cards], rounded)
    fields: dict[str, Any] = {
        "name": name,
        "risks": tuple(dict.fromkeys(risk for card in cards for risk in card.risks)),
        "base": cards[0].base,
        "init": init,
        "strategy": method,
        "parents": tuple(card.reference for card in cards),
        "expression": text,
        "conflicts": _said(name, [card.conflicts for card in cards]),
        "breaks": _said(name, [card.breaks for card in cards]),
        "status": "proven" if all(card.status == "proven" for card in cards) else "unproven",
    }
    check_prefix(rounded, subject=name)
    draft = make_record(CardDraft, fields, subject=f"{method} of patches", code="composition-invalid")
    return type(patches[0]).of(rounded, new_card(rounded, draft))


def _said(name: str, relations: Sequence[Sequence[Relation]]) -> tuple[Relation, ...]:
    """Return what the parts must not stand beside, and so neither must a patch of this name that is made of them."""
    found = dict.fromkeys(relation for of_one in relations for relation in of_one)
    return tuple(relation for relation in found if relation.name != name)


def _name(method: str, names: Sequence[str], values: Float[ndarray, "tokens dim"]) -> str:
    """Return `method-a-b` where that is short enough, and else the method with the result's digest."""
    name = "-".join([method, *names])
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{method}-{values_digest(values)[7:19]}"
