# SPDX-License-Identifier: Apache-2.0
"""Chains that are too much for one program."""

from __future__ import annotations

from collections.abc import Iterable

from bpfd.attach.chain.compose import Part
from bpfd.attach.chain.member import Member
from bpfd.attach.chain.pieces import MAX_FUNCTIONS, MAX_MAPS, maps_of, pieces
from bpfd.kernel.program_code import INSTRUCTION, Code, registers

RETURN = INSTRUCTION.pack(0xB7, 0, 0, 2) + INSTRUCTION.pack(0x95, 0, 0, 0)


def part(name: str, maps: Iterable[int] = (), functions: int = 1) -> Part:
    """Uses maps, and has so many functions."""
    loads = b"".join(
        INSTRUCTION.pack(0x18, registers(1, 1), 0, number) + INSTRUCTION.pack(0, 0, 0, 0)
        for number in maps
    )
    calls = b"".join(
        # Over the calls that follow and the end of the main function, to the next one.
        INSTRUCTION.pack(0x85, registers(0, 1), 0, functions - 2 - index + 2 + index * 2)
        for index in range(functions - 1)
    )
    return Part(Member(1, (2,), 1, name), Code(loads + calls + RETURN * functions))


def names(found: list[list[Part]]) -> list[str]:
    return ["".join(each.member.program for each in piece) for piece in found]


def test_maps_are_counted_once() -> None:
    assert maps_of(part("a", [5, 6, 5]).code) == {5, 6}
    assert maps_of(part("a").code) == set()


def test_what_fits_is_one() -> None:
    assert names(pieces([part("a", range(1, 33)), part("b", range(33, 65))])) == ["ab"]
    assert names(pieces([part("a", range(64)), part("b", range(64)), part("c")])) == ["abc"]


def test_maps_make_a_new_piece() -> None:
    parts = [part("a", range(40)), part("b", range(20, 63)), part("c", [99]), part("d", [98])]
    assert names(pieces(parts)) == ["ab", "cd"]
    many = [part(chr(97 + n), range(n * 11, n * 11 + 11)) for n in range(12)]
    found = pieces(many)
    assert names(found) == ["abcde", "fghij", "kl"]
    for piece in found[:-1]:
        assert len(set().union(*(maps_of(each.code) for each in piece))) < MAX_MAPS


def test_one_that_is_too_much_by_itself_is_alone() -> None:
    parts = [part("a", [1]), part("b", range(100)), part("c", [1])]
    assert names(pieces(parts)) == ["a", "b", "c"]


def test_functions_make_a_new_piece() -> None:
    parts = [part(name, functions=100) for name in "abc"]
    assert names(pieces(parts)) == ["ab", "c"]
    whole = [part("a", functions=MAX_FUNCTIONS - 2), part("b")]
    assert names(pieces(whole)) == ["ab"]
    assert names(pieces([*whole, part("c")])) == ["ab", "c"]
