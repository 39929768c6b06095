# SPDX-License-Identifier: Apache-2.0
"""Code there and back, and maps exchanged in it."""

from __future__ import annotations

import struct

import pytest

from bpfd.kernel import program_code
from bpfd.kernel.program_code import INSTRUCTION, Code, pack, registers, unpack, with_maps

WHOLE = Code(b"i" * 24, b"f" * 8, b"l" * 32, 32, 7)


@pytest.mark.parametrize("code", [WHOLE, Code(b"i" * 16), Code(b"")])
def test_there_and_back(code: Code) -> None:
    assert unpack(pack(code)) == code
    assert unpack(pack(code) + bytes(8)) == code  # an array map rounds up


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xff\xff\xff", struct.pack("=I", 2) + b"{}", pack(WHOLE)[:-1], b"\0" * 64],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(data)


def instruction(operation: int, source: int, immediate: int) -> bytes:
    return INSTRUCTION.pack(operation, registers(1, source), 0, immediate)


def test_maps_are_exchanged_and_nothing_else() -> None:
    second = INSTRUCTION.pack(0, 0, 0, 48)  # an offset into the map's value

    def code(first: int, other: int) -> bytes:
        return b"".join(
            (
                *(instruction(0x18, 1, first), INSTRUCTION.pack(0, 0, 0, 0)),
                *(instruction(0x18, 2, other), second),
                *(instruction(0x18, 0, 5), instruction(0x18, 1, 5)),  # a number, two halves
                *(instruction(0x18, 4, 5), INSTRUCTION.pack(0, 0, 0, 0)),  # a function
                instruction(0x85, 1, 5),
                instruction(0x95, 0, 0),
            )
        )

    asked = []

    def exchange(number: int) -> int:
        asked.append(number)
        return number + 1000

    assert with_maps(code(5, 6), exchange) == code(1005, 1006)
    assert asked == [5, 6]


def test_what_is_known_is_forgotten_with_its_program() -> None:
    program_code.remember(1 << 31, WHOLE)
    assert program_code.of(1 << 31) is WHOLE
    program_code.forget(1 << 31)
    assert program_code.of(1 << 31) is None


def test_longer_records_of_later_headers_are_cut() -> None:
    found = program_code.taken(b"", b"12345678xx" * 2, 10, b"1234567890123456yyyy", 20)
    assert (found.func_info, found.line_info) == (b"12345678" * 2, b"1234567890123456")
