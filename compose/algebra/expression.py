"""Provenance as text: how an algebraic patch was made, down to the digests of trained ones.

The language is closed: a leaf is `name@sha256:...`, a call is `method(parts, key=value, ...)`, a value is a
number, a list of numbers or a leaf. Every expression has exactly one spelling, for instance
`mean(tox@sha256:..., bias@sha256:..., weights=[0.5, 0.5])`; a text spelled otherwise is refused, not
repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from compose.errors import Rejected
from compose.records import DIGEST_PATTERN, MAX_EXPRESSION_CHARACTERS, NAME_PATTERN

MAX_DEPTH = 32
NUMBER_PATTERN = r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,24})?(?:e[+-][0-9]{2,3})?"
TOKEN = re.compile(
    rf"(?P<leaf>{NAME_PATTERN}@{DIGEST_PATTERN})|(?P<word>[a-z][a-z0-9_]{{0,63}})|(?P<number>{NUMBER_PATTERN})"
    r"|(?P<sign>[()\[\]=]|, )"
)


@dataclass(frozen=True)
class Leaf:
    """A patch that is taken as it is. The digest identifies it; the name is for people."""

    name: str
    digest: str

    def __str__(self) -> str:
        """Return `name@sha256:...`."""
        return f"{self.name}@{self.digest}"


Value = int | float | tuple[float, ...] | Leaf


@dataclass(frozen=True)
class Call:
    """A method applied to parts, with its parameters in the order of its signature."""

    method: str
    parts: tuple[Expression, ...]
    params: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        """Return `method(part, ..., key=value, ...)`."""
        params = [f"{key}={_spelled(value)}" for key, value in self.params]
        return f"{self.method}({', '.join([*map(str, self.parts), *params])})"


Expression = Leaf | Call


def parse(text: str) -> Expression:
    """Return the expression that `text` spells.

    Raises:
        Rejected: `expression-invalid`, when the text is too long, nests deeper than `MAX_DEPTH`, or is not
            the one spelling of an expression.
    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        _refuse(text, f"{len(text)} characters")
    reader = _Reader(text)
    expression = reader.expression(depth=0)
    reader.end()
    if str(expression) != text:  # 0.50 for 0.5, say: one meaning must have one digest
        _refuse(text, f"another spelling of {str(expression)[:120]}")
    return expression


def depth(expression: Expression) -> int:
    """Return how many calls lie within each other; 0 for a leaf."""
    return 0 if isinstance(expression, Leaf) else 1 + max(map(depth, expression.parts), default=0)


def _spelled(value: Value) -> str:
    """Return a parameter's value as text; `repr` of a float reads back to the very same float."""
    if isinstance(value, tuple):
        return f"[{', '.join(repr(float(item)) for item in value)}]"
    return str(value) if isinstance(value, Leaf) else repr(value)


def _refuse(text: str, got: str) -> NoReturn:
    """Refuse a text."""
    raise Rejected(
        "expression-invalid",
        subject=f"expression {text[:60]!a}",
        expected="method(name@sha256:..., ..., key=value), spelled as compose writes it",
        got=got,
        fix="take the expression unchanged from the patch's card",
    )


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def expression(self, depth: int) -> Expression:
        """Return the expression that starts here."""
        if depth > MAX_DEPTH:
            _refuse(self.text, f"calls nested deeper than {MAX_DEPTH}")
        kind, found = self._next()
        if kind == "leaf":
            return self._leaf(found)
        if kind != "word":
            self._unexpected(found, "a patch or a method")
        self._sign("(")
        parts: list[Expression] = []
        params: list[tuple[str, Value]] = []
        while True:
            if self._peek_is_param():
                key = self._next()[1]
                self._sign("=")
                params.append((key, self._value()))
            elif params:
                self._unexpected(self._next()[1], "a parameter: parts come first")
            else:
                parts.append(self.expression(depth + 1))
            if self._sign(", ", ")") == ")":
                break
        if not parts or len({key for key, _ in params}) != len(params):
            _refuse(self.text, "a call without parts or with one parameter twice")
        return Call(found, tuple(parts), tuple(params))

    def end(self) -> None:
        """Refuse whatever follows the expression."""
        if self.at != len(self.text):
            self._unexpected(self.text[self.at : self.at + 20], "the end")

    def _value(self) -> Value:
        """Return the parameter value that starts here."""
        kind, found = self._next()
        if kind == "leaf":
            return self._leaf(found)
        if kind == "number":
            return self._number(found)
        if found != "[":
            self._unexpected(found, "a number, a list or a patch")
        numbers: list[float] = []
        while True:
            kind, found = self._next()
            if kind != "number":
                self._unexpected(found, "a number")
            numbers.append(float(found))
            if self._sign(", ", "]") == "]":
                return tuple(numbers)

    def _leaf(self, found: str) -> Leaf:
        """Return a leaf from its token."""
        name, digest = found.split("@")
        return Leaf(name, digest)

    def _number(self, found: str) -> int | float:
        """Return an integer when the token is spelled like one, and else a float (an overflow reads as `inf`,
        whose spelling is another one, so it is refused)."""
        return float(found) if "." in found or "e" in found else int(found)

    def _peek_is_param(self) -> bool:
        """Return whether a `key=` starts here."""
        match = TOKEN.match(self.text, self.at)
        return match is not None and match.lastgroup == "word" and self.text.startswith("=", match.end())

    def _sign(self, *expected: str) -> str:
        """Return the sign that stands here, which must be one of `expected`."""
        kind, found = self._next()
        if kind != "sign" or found not in expected:
            self._unexpected(found, " or ".join(map(repr, expected)))
        return found

    def _next(self) -> tuple[str, str]:
        """Return the kind and the text of the next token."""
        match = TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup is None:
            self._unexpected(self.text[self.at : self.at + 20], "a name, a number or a sign")
        self.at = match.end()
        return match.lastgroup, match.group()

    def _unexpected(self, found: str, expected: str) -> NoReturn:
        """Refuse what stands here."""
        _refuse(self.text, f"{found!a} near character {self.at}, where {expected} should be")
