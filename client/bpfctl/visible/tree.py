# SPDX-License-Identifier: Apache-2.0
"""Indented lines as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def drawn(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    """(depth, text) with branches before each text; depth 0 stands at the margin."""
    found: list[str] = []
    going_on: set[int] = set()
    """Levels at which another line follows, before one further out."""
    for depth, text in reversed(list(lines)):
        branches = [("│  " if level in going_on else "   ") for level in range(1, depth)]
        if depth:
            branches.append("├─ " if depth in going_on else "└─ ")
        found.append("".join(branches) + text)
        going_on = {level for level in going_on if level < depth} | {depth}
    return reversed(found)
