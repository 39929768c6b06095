# SPDX-License-Identifier: Apache-2.0
"""Jumps of a function as lines beside its listing.

Jumps to the same place share a line; short ones stand near the code, so that few cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .instruction import Instruction

MAX_LANES = 16
"""Lines beside each other; the longest of more are left out."""


@dataclass(frozen=True)
class Jump:
    """All jumps to one place."""

    target: int
    sources: frozenset[int]

    @property
    def first(self) -> int:
        """Index of the uppermost end."""
        return min(self.target, *self.sources)

    @property
    def last(self) -> int:
        """Index of the lowest end."""
        return max(self.target, *self.sources)

    def meets(self, index: int) -> bool:
        """Starts or ends at an instruction."""
        return index == self.target or index in self.sources


class Gutter:
    """Draws the lines; every line of text has `width` characters of it before."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        self._lanes = _lanes(code)
        """From the code outwards."""
        self.width = len(self._lanes) + 2 if self._lanes else 0

    def at(self, index: int) -> str:
        """Beside an instruction: lines that pass, start or end."""
        if not self._lanes:
            return ""
        drawn = []
        joined = False  # a line from the left goes to the code
        target = False
        for lane in reversed(self._lanes):
            mark = "─" if joined else " "
            for jump in lane:
                if jump.meets(index):
                    mark = _end(jump, index, joined)
                    joined = True
                    target = target or index == jump.target
                elif jump.first < index < jump.last:
                    mark = "┼" if joined else "│"
            drawn.append(mark)
        return "".join(drawn) + (">" if target else "─" if joined else " ") + " "

    def above(self, index: int) -> str:
        """Above an instruction, as beside a source line: lines that pass."""
        if not self._lanes:
            return ""
        drawn = (
            "│" if any(jump.first < index <= jump.last for jump in lane) else " "
            for lane in reversed(self._lanes)
        )
        return "".join(drawn) + "  "


def _end(jump: Jump, index: int, joined: bool) -> str:
    """The corner of a line; `joined`: another one comes from the left."""
    if jump.first == jump.last:
        return "─"
    if index == jump.first:
        return "┬" if joined else "┌"
    if index == jump.last:
        return "┴" if joined else "└"
    return "┼" if joined else "├"


def _lanes(code: Sequence[Instruction]) -> list[list[Jump]]:
    inside = {each.index for each in code}
    sources: dict[int, set[int]] = {}
    for each in code:
        if each.target is not None and each.target in inside:
            sources.setdefault(each.target, set()).add(each.index)
    jumps = [Jump(target, frozenset(found)) for target, found in sources.items()]
    jumps.sort(key=lambda jump: (jump.last - jump.first, jump.first))
    lanes: list[list[Jump]] = []
    for jump in jumps:
        for lane in lanes:
            if all(jump.last < other.first or other.last < jump.first for other in lane):
                lane.append(jump)
                break
        else:
            if len(lanes) < MAX_LANES:
                lanes.append([jump])
    return lanes
