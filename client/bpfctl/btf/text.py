# SPDX-License-Identifier: Apache-2.0
"""The notation of composite values: `a=1 b.c=2 d={x=1 y=2} e=[1,2] f[3]=7 g="two words"`.

Fields are separated by blanks or commas. A word is taken as it stands up to the next
separator; text with blanks, commas, brackets, quotes or '=' is a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from bpfctl.btf.errors import BtfValueError

_BARE = re.compile(r"[^\s,={}\[\]\"'\\]+")
_PATH = re.compile(r"[A-Za-z_][\w$]*(?:\s*\.\s*[\w$]+|\[[^\]]*\])*\s*=")
_STEP = re.compile(r"\.?([\w$]+)|\[([^\]]*)\]")
_CLOSE = {"{": "}", "[": "]"}
_MAX_DEPTH = 32
_decoder = json.JSONDecoder(strict=False)

Path = tuple[str | int, ...]


class Quoted(str):
    """Text that stood in quotes: never a number, `hex:` or a bracket."""

    __slots__ = ()


def quote(text: str) -> str:
    """Text as a word where it may stand as one, as a JSON string elsewhere."""
    if _BARE.fullmatch(text) and text.isprintable() and not text.startswith("hex:"):
        return text
    # Control characters of foreign text must not reach a terminal.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def unquote(text: str, field: str) -> str:
    """The content of a whole JSON string; text without quotes as it stands.

    Raises BtfValueError for a string that does not end, or ends early.
    """
    if isinstance(text, Quoted) or not text.startswith('"'):
        return text
    value, end = _string(text, 0, field)
    if end != len(text):
        raise BtfValueError(
            field, f"{text[end:]!r} stands behind the closing quote of {text!r}"
        )
    return value


def assignments(text: str, field: str) -> Iterator[tuple[Path, str]]:
    """(path, value) of each `path=value`; a value in quotes is a `Quoted`.

    Raises BtfValueError for what is not of that form.
    """
    at = _skip(text, 0)
    while at < len(text):
        match = _PATH.match(text, at)
        if match is None:
            word = re.split(r"[\s,]", text[at:], maxsplit=1)[0]
            raise BtfValueError(
                field, f"field=value is due where {word!r} stands (quote text that has blanks)"
            )
        path = split_path(match.group()[:-1])
        value, at = _value(text, _blanks(text, match.end()), field)
        if at < len(text) and text[at] not in " \t\r\n,":
            raise BtfValueError(field, f"a blank or a comma is due where {text[at:]!r} stands")
        yield path, value
        at = _skip(text, at)


def items(text: str, field: str) -> Iterator[str]:
    """The values of a list `1,2,3` without its brackets; BtfValueError as above."""
    at = _blanks(text, 0)
    while at < len(text):
        value, at = _value(text, at, field)
        yield value
        at = _blanks(text, at)
        if at == len(text):
            return
        if text[at] == ",":
            at = _blanks(text, at + 1)


def inside(text: str, opening: str, field: str) -> str | None:
    """What a bracket around the whole text holds; None without one."""
    if isinstance(text, Quoted) or not text.startswith(opening):
        return None
    end = _closing(text, 0, field)
    if end != len(text):
        raise BtfValueError(
            field, f"{text[end:]!r} stands behind the closing {_CLOSE[opening]!r}"
        )
    return text[1:-1]


def split_path(text: str) -> Path:
    """`a.b[2]` -> ("a", "b", 2); an index that is not a number stays text."""
    steps: list[str | int] = []
    for name, index in _STEP.findall(text.replace(" ", "")):
        steps.append(
            name or (int(index) if re.fullmatch("[0-9]{1,9}", index) else f"[{index}]")
        )
    return tuple(steps)


def _value(text: str, at: int, field: str) -> tuple[str, int]:
    if at < len(text) and text[at] in _CLOSE:
        end = _closing(text, at, field)
        return text[at:end], end
    if at < len(text) and text[at] == '"':
        value, end = _string(text, at, field)
        return Quoted(value), end
    end = at
    while end < len(text) and text[end] not in " \t\r\n,":
        end += 1
    return text[at:end], end


def _string(text: str, at: int, field: str) -> tuple[str, int]:
    try:
        value, end = _decoder.raw_decode(text, at)
    except ValueError:
        raise BtfValueError(field, f"the string {text[at:]!r} is not a JSON string") from None
    return str(value), end


def _closing(text: str, at: int, field: str) -> int:
    """Behind the bracket that closes the one at `at`."""
    open_brackets: list[str] = []
    while at < len(text):
        letter = text[at]
        if letter == '"':
            _, at = _string(text, at, field)
            continue
        if letter in _CLOSE:
            open_brackets.append(_CLOSE[letter])
            if len(open_brackets) > _MAX_DEPTH:
                raise BtfValueError(field, f"more than {_MAX_DEPTH} brackets inside each other")
        elif letter in "}]":
            if open_brackets.pop() != letter:
                break
            if not open_brackets:
                return at + 1
        at += 1
    raise BtfValueError(field, f"the brackets of {text!r} do not match")


def _blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == ","):
        at += 1
    return at
