# SPDX-License-Identifier: Apache-2.0
"""Splitting and escaping: a backslash takes the special meaning from what follows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InvalidAttachPoint(ValueError):
    """The text names no attach point; says what would."""


def split(text: str, separator: str, maximum: int = -1) -> list[str]:
    """The parts between separators that no backslash precedes; escapes stay."""
    parts, start, position = [], 0, 0
    while position < len(text) and maximum != 0:
        if text[position] == "\\":
            position += 1
        elif text[position] == separator:
            parts.append(text[start:position])
            start = position + 1
            maximum -= 1
        position += 1
    return [*parts, text[start:]]


def unescape(text: str) -> str:
    """The text itself; InvalidAttachPoint for a backslash at its end."""
    if len(text) - len(text.rstrip("\\")) & 1:
        raise InvalidAttachPoint(f"{text!r} ends in the middle of an escape")
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def escape(text: str, special: str = "") -> str:
    """The text with a backslash before commas, backslashes and what else is special."""
    return re.sub(f"[{re.escape(special)},\\\\]", r"\\\g<0>", text)


def number(text: str, what: str, bits: int = 64, signed: bool = False) -> int:
    """A number in C's notations; InvalidAttachPoint when it is none or does not fit."""
    low = -(1 << bits - 1) if signed else 0
    high = (1 << bits - signed) - 1
    try:
        value = int(text, 0) if len(text) < 40 else high + 1
    except ValueError:
        raise InvalidAttachPoint(f"{what} is a number, not {text!r}") from None
    if not low <= value <= high:
        raise InvalidAttachPoint(f"{what} is {low} to {high}, not {text}")
    return value


def near(word: str, known: Iterable[str]) -> str:
    """A half sentence with the names that are near; empty: none is."""
    names = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(names)}?" if names else ""
