# SPDX-License-Identifier: Apache-2.0
"""Chains that are too much for one program, in pieces that follow each other. Pure.

The kernel bounds the maps and functions of one program (MAX_USED_MAPS, BPF_MAX_SUBPROGS). A
piece ends with a tail call to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from bpfd.attach.chain.compose import Part, functions
from bpfd.kernel.program_code import Code, with_maps

MAX_MAPS, MAX_FUNCTIONS = 64, 256


def maps_of(code: Code) -> set[int]:
    """Kernel ids of the maps that instructions name."""
    found: set[int] = set()

    def note(number: int) -> int:
        found.add(number)
        return number

    with_maps(code.instructions, note)
    return found


def pieces(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in their order, in as few pieces as there can be; one that is too much by
    itself is a piece."""
    room = MAX_MAPS - 1  # but for the prog array with the next piece
    found: list[list[Part]] = []
    maps: set[int] = set()
    count = 0
    if _fits(parts):
        return [list(parts)]
    for part in parts:
        own, of_its_own = maps_of(part.code), len(functions(part.code))
        if not found or len(maps | own) > room or count + of_its_own > MAX_FUNCTIONS:
            found.append([])
            maps, count = set(), 1  # the dispatcher
        found[-1].append(part)
        maps |= own
        count += of_its_own
    return found


def _fits(parts: Sequence[Part]) -> bool:
    maps = set().union(*(maps_of(part.code) for part in parts))
    count = 1 + sum(len(functions(part.code)) for part in parts)
    return len(maps) <= MAX_MAPS and count <= MAX_FUNCTIONS
