# SPDX-License-Identifier: Apache-2.0
"""Perf records in memory that a test filled."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from bpfd.kernel import perf_buffer


def _sample(data: bytes) -> bytes:
    data += bytes(-(len(data) + 4) % 8)
    return struct.pack("=IHHI", 9, 0, 12 + len(data), len(data)) + data


def _lost(number: int) -> bytes:
    return struct.pack("=IHHQQ", 2, 0, 24, 1, number)


def _other() -> bytes:
    return struct.pack("=IHHQ", 5, 0, 16, 0)


@given(
    st.lists(st.binary(max_size=60) | st.integers(1, 9) | st.none(), max_size=20),
    st.integers(0, 511),
)
def test_records_take_the_form_of_a_ring_buffers(
    items: list[bytes | int | None], turn: int
) -> None:
    content, expected, count, lost = b"", b"", 0, 0
    for item in items:
        if item is None:
            content += _other()
        elif isinstance(item, int):
            content += _lost(item)
            lost += item
        else:
            content += _sample(item)
            data = item + bytes(-(len(item) + 4) % 8)
            expected += struct.pack("=II", len(data), 0) + data + bytes(-len(data) % 8)
            count += 1
    start = turn * 8
    buffer = bytearray(4096)
    for index, byte in enumerate(content):
        buffer[(start + index) % 4096] = byte
    parts, found, _, missing = perf_buffer.convert(
        memoryview(buffer), start + 8192, start + 8192 + len(content)
    )
    assert b"".join(parts) == expected
    assert (found, missing) == (count, lost)


def test_records_of_one_size_say_so() -> None:
    content = _sample(b"x" * 40) * 3
    buffer = memoryview(content + bytes(4096 - len(content)))
    assert perf_buffer.convert(buffer, 0, len(content))[1:] == (3, 44, 0)
