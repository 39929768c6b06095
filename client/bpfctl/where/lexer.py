# SPDX-License-Identifier: Apache-2.0
"""Words of a condition, brought into a form that Python's parser takes.

Every name and every literal becomes a name of its own, so that fields may be called as
keywords of Python are (`from`, `class`), and addresses and times need no quotes.
"""

from __future__ import annotations

import ast
import ipaddress
import re
import warnings
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from bpfctl.errors import InvalidArgument

MAX_CHARACTERS = 4096
_MAX_DEPTH = 100
_NESTED = f"more than {_MAX_DEPTH} parentheses or signs are nested"
_INDEX = re.compile(r"(?:\bw\d+|\])\s*\[\s*$")
"""What stands in `source` in front of an index of an array."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<mac>[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-]))
    |(?P<address>\d+\.\d+\.\d+\.\d+(?:/\d+)?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:/\d+)?)
    |(?P<time>\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)\b)
    |(?P<number>(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b)
    |(?P<word>[A-Za-z_$][\w$]*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|<<|>>|//|[-+*/%<>&|^~!()\[\].,=])""",
    re.VERBOSE,
)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_OPERATORS = {"and", "or", "not", "in"}
_SIGNS = {"&&": " and ", "||": " or ", "!": " not "}

Kind = Literal["number", "time", "text", "address", "mac", "name"]


@dataclass(frozen=True)
class Constant:
    """A literal; `text` is as it was typed.

    `value` is an int or float, nanoseconds (int), a str, an ipaddress network, six bytes, or
    for a name that is no field the name.
    """

    kind: Kind
    value: object
    text: str


@dataclass
class Lexed:
    """What Python parses, and what its names stand for."""

    text: str
    source: str = ""
    words: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    places: list[tuple[int, int]] = field(default_factory=list)
    """(place in `source`, place in the condition) of each token."""

    def origin(self, place: int) -> int:
        """Where in the condition a place of `source` comes from."""
        return max((there for here, there in self.places if here <= place), default=0)

    def written(self, tree: ast.expr) -> str:
        """A part of the tree as it was typed."""
        end = [there for here, there in self.places if here >= (tree.end_col_offset or 0)]
        return self.text[self.origin(tree.col_offset) : min(end, default=None)].strip()


def refused(why: str) -> InvalidArgument:
    """The error of a condition."""
    return InvalidArgument("where", why)


def parse(text: str) -> tuple[ast.expr, Lexed]:
    """The syntax tree of a condition. Raises InvalidArgument, with the place."""
    if len(text) > MAX_CHARACTERS:
        raise refused(f"{len(text)} characters are more than {MAX_CHARACTERS}")
    text = text.strip()
    if not text:
        raise refused("the condition is empty")
    lexed = lex(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(lexed.source, mode="eval").body
    except SyntaxError as error:
        if "too many nested" in error.msg:
            raise refused(_NESTED) from None
        # The parser gives no place when it is the end that it did not expect.
        place = lexed.origin(error.offset - 1) if error.offset else len(text)
        raise refused(f"{_at(text, place)} was not expected") from None
    except (RecursionError, MemoryError, ValueError):
        raise refused(_NESTED) from None
    if _depth(tree) > _MAX_DEPTH:
        raise refused(_NESTED)
    return tree, lexed


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def _at(text: str, place: int) -> str:
    rest = text[place:].strip()
    return f"{rest[:20]!r} at character {place + 1}" if rest else "the end"


def lex(text: str) -> Lexed:
    """Takes a condition apart. Raises InvalidArgument for what is no word of one."""
    lexed = Lexed(text)
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at] in "\"'":
                raise refused(f"the text that begins at character {at + 1} does not end")
            raise refused(f"{_at(text, at)} is no word of a condition")
        lexed.places.append((len(lexed.source), at))
        lexed.source += _token(match, lexed)
        at = match.end()
    lexed.places.append((len(lexed.source), at))
    return lexed


def _token(match: re.Match[str], lexed: Lexed) -> str:
    kind, token = str(match.lastgroup), match[0]
    if kind == "space":
        return " "
    if kind == "sign":
        if token == "=":
            raise refused(f"'=' at character {match.start() + 1}: write == to compare")
        return _SIGNS.get(token, token)
    if kind == "word":
        if token in _OPERATORS:
            return token
        if token.lower() in ("true", "false"):
            return _constant(lexed, Constant("number", int(token.lower() == "true"), token))
        name = f"w{len(lexed.words)}"
        lexed.words[name] = token
        return name
    if kind == "number" and token.isdecimal() and _INDEX.search(lexed.source):
        return str(int(token))
    return _constant(lexed, _literal(kind, token, match.start()))


def _constant(lexed: Lexed, constant: Constant) -> str:
    name = f"c{len(lexed.constants)}"
    lexed.constants[name] = constant
    return name


def _literal(kind: str, token: str, place: int) -> Constant:
    if kind == "text":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Constant("text", str(ast.literal_eval(token)), token)
        except (SyntaxError, ValueError):
            raise refused(f"{token} at character {place + 1} is no text") from None
    if kind == "mac":
        return Constant("mac", bytes.fromhex(re.sub("[:-]", "", token)), token)
    if kind == "address":
        try:
            return Constant("address", ipaddress.ip_network(token, strict=False), token)
        except ValueError as error:
            raise refused(f"{token}: {error}") from None
    if kind == "time":
        unit = token.lstrip("0123456789.")
        return Constant("time", int(Decimal(token[: -len(unit)]) * _NANOSECONDS[unit]), token)
    digits = token.replace("_", "")
    if re.fullmatch(r"\d+\.\d+.*|\d+[eE].*", digits):
        return Constant("number", float(digits), token)
    if digits.isdecimal() and len(digits) > 40:
        raise refused(f"{token[:20]}... is too large a number")
    return Constant("number", int(digits) if digits.isdecimal() else int(digits, 0), token)
