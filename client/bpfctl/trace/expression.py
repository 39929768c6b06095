# SPDX-License-Identifier: Apache-2.0
"""Expressions over what is traced: `size > 4096 and comm == "curl"`, `sk->sk_family`.

Operators as in C or as words (and, or, not); `.` and `->` mean the same; a text with a star
at its end matches every text that begins so; numbers may have a unit of time (1ms, 20us).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import TraceError

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>0[xX][0-9a-fA-F]+|\d+)(?P<unit>ns|us|ms|s)?(?![\w])
    |(?P<name>[A-Za-z_$]\w*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<sign>->|==|!=|<=|>=|<<|>>|&&|\|\||[-+*/%&|^~!<>().,])
    )""",
    re.VERBOSE,
)
_UNITS = {None: 1, "ns": 1, "us": 1000, "ms": 1000000, "s": 1000000000}
_WORDS = {"and": "&&", "or": "||", "not": "!"}
_LEVELS = (
    ("||",),
    ("&&",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("|",),
    ("^",),
    ("&",),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Number:
    value: int


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Member:
    """`of.name`, through a pointer or not."""

    of: Node
    name: str


@dataclass(frozen=True)
class Unary:
    """`operator`: -, !, ~, or * for what a pointer points to."""

    operator: str
    of: Node


@dataclass(frozen=True)
class Binary:
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Call:
    """str(POINTER): the text there."""

    function: str
    argument: Node


Node = Number | Text | Name | Member | Unary | Binary | Call


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens(text))
        self.at = 0
        self.depth = 0

    def _tokens(self, text: str) -> Iterator[tuple[str, str]]:
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"nothing is known to begin with {text[position:].strip()!r}")
            position = match.end()
            if match["number"] is not None:
                value = int(match["number"], 0 if match["number"][:2] in ("0x", "0X") else 10)
                yield "number", str(value * _UNITS[match["unit"]])
            elif match["name"] in _WORDS:
                yield "sign", _WORDS[match["name"]]
            else:
                kind = match.lastgroup or ""
                yield kind, match[kind]

    def error(self, why: str) -> TraceError:
        return TraceError("expression", f"{self.text!r}: {why}")

    def peek(self) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign":
            return self.tokens[self.at][1]
        return ""

    def take(self, sign: str) -> bool:
        if self.peek() != sign:
            return False
        self.at += 1
        return True

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.error(f"{sign!r} is missing{self._before()}")

    def _before(self) -> str:
        return f" before {self.tokens[self.at][1]!r}" if self.at < len(self.tokens) else ""

    def binary(self, level: int = 0) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while (sign := self.peek()) in _LEVELS[level] and sign:
            self.at += 1
            left = Binary(sign, left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error("it is too deep")
        try:
            for sign in ("!", "-", "~", "*"):
                if self.take(sign):
                    return Unary(sign, self.unary())
            return self.postfix()
        finally:
            self.depth -= 1

    def postfix(self) -> Node:
        node = self.primary()
        while self.peek() in ("->", ".") and self.peek():
            self.at += 1
            kind, value = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
            if kind != "name":
                raise self.error(f"the name of a member is missing{self._before()}")
            self.at += 1
            node = Member(node, value)
        return node

    def primary(self) -> Node:
        if self.at >= len(self.tokens):
            raise self.error("it ends too early")
        kind, value = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            number = int(value)
            if number >= 1 << 64:
                raise self.error(f"{value} has more than 64 bits")
            return Number(number)
        if kind == "text":
            return Text(re.sub(r"\\(.)", r"\1", value[1:-1]))
        if kind == "name":
            if self.take("("):
                if value != "str":
                    raise self.error(f"there is no function {value}(); there is str(POINTER)")
                argument = self.binary()
                self.expect(")")
                return Call(value, argument)
            return Name(value)
        if value == "(":
            node = self.binary()
            self.expect(")")
            return node
        raise self.error(f"{value!r} stands where a value should")


def parse(text: str) -> Node:
    """The tree of one expression; raises TraceError."""
    parser = _Parser(text)
    node = parser.binary()
    if parser.at < len(parser.tokens):
        raise parser.error(f"{parser.tokens[parser.at][1]!r} is one too many")
    return node


def conjuncts(node: Node) -> list[Node]:
    """The parts that all must hold."""
    if isinstance(node, Binary) and node.operator == "&&":
        return [*conjuncts(node.left), *conjuncts(node.right)]
    return [node]


def names(node: Node) -> set[str]:
    """Every plain name in it."""
    if isinstance(node, Name):
        return {node.name}
    if isinstance(node, Member | Unary):
        return names(node.of)
    if isinstance(node, Binary):
        return names(node.left) | names(node.right)
    if isinstance(node, Call):
        return names(node.argument)
    return set()


def shown(node: Node) -> str:
    """A short name for a column: the last member, or the whole without signs."""
    if isinstance(node, Name | Member):
        return node.name
    if isinstance(node, Call):
        return shown(node.argument)
    if isinstance(node, Unary):
        return shown(node.of)
    if isinstance(node, Binary):
        return f"{shown(node.left)}_{shown(node.right)}"
    return "value"


def split(texts: str) -> list[str]:
    """The expressions of a list, at commas outside of parentheses and quotes."""
    parts, level, quote, start = [], 0, "", 0
    for at, letter in enumerate(texts):
        if quote:
            quote = "" if letter == quote and texts[at - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "()":
            level += 1 if letter == "(" else -1
        elif letter == "," and level == 0:
            parts.append(texts[start:at])
            start = at + 1
    parts.append(texts[start:])
    return [part.strip() for part in parts if part.strip()]
