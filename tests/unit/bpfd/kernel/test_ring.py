# SPDX-License-Identifier: Apache-2.0
"""Headers of a ring buffer, found in memory that a test filled."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfd.kernel import ring


@dataclass(frozen=True)
class Rec:
    size: int
    state: int = 0  # 0 committed, BUSY or DISCARD

    @property
    def stride(self) -> int:
        return (self.size + 8 + 7) // 8 * 8

    def encode(self) -> bytes:
        # The data is made of words that look like discarded headers: whoever reads one as
        # a header is caught.
        data = struct.pack("=I", ring.DISCARD | 8) * (self.stride // 4)
        header = struct.pack("=II", self.size | self.state, 3)
        return (header + data)[: self.stride]


def expected(records: list[Rec], room: int) -> tuple[int, int, bytes, set[int]]:
    """(count, end, data, sizes), one record after the other."""
    at = count = 0
    data, sizes = b"", set()
    for record in records:
        if record.state == ring.BUSY or at >= room:
            break
        if record.state != ring.DISCARD:
            if at + record.stride > room and count:
                break
            count += 1
            data += record.encode()
            sizes.add(record.size)
        at += record.stride
    return count, at, data, sizes


sizes = st.sampled_from([0, 1, 7, 8, 40, 41, 300])
states = st.sampled_from([0] * 12 + [ring.DISCARD, ring.BUSY])
runs = st.lists(st.tuples(sizes, states, st.integers(1, 150)), max_size=12)


@given(runs, st.integers(0, 20000) | st.just(1 << 30), st.integers(0, 5))
def test_scan_finds_what_a_step_by_step_walk_finds(
    described: list[tuple[int, int, int]], room: int, before: int
) -> None:
    records = [Rec(size, state) for size, state, times in described for _ in range(times)]
    content = b"".join(record.encode() for record in records)
    start = before * 8
    memory = memoryview(b"\xff" * start + content + b"\xff" * 64)
    padded = memory[: len(memory) // 4 * 4].cast("I")
    room = min(room // 8 * 8, len(content))
    found = ring.scan(padded, start, start + room)
    count, end, data, kinds = expected(records, room)
    assert found.count == count
    assert found.end == start + end
    assert b"".join(memory[first:last] for first, last in found.segments) == data
    assert found.record_size == (kinds.pop() if len(kinds) == 1 else 0)


def test_one_size_is_one_segment() -> None:
    memory = memoryview(Rec(40).encode() * 5000).cast("I")
    found = ring.scan(memory, 0, 5000 * 48)
    assert found == ring.Records([(0, 5000 * 48)], 5000 * 48, 5000, 40)


def test_first_record_is_taken_though_it_is_longer_than_the_limit() -> None:
    memory = memoryview(Rec(1000).encode() + Rec(8).encode()).cast("I")
    assert ring.scan(memory, 0, 64) == ring.Records([(0, 1008)], 1008, 1, 1000)


class _Pages:
    """A page whose second half changes between two reads of the first."""

    def __init__(self, values: list[int]) -> None:
        self._values = values

    def cast(self, kind: str) -> _Pages:
        assert kind == "I"
        return self

    def __getitem__(self, index: int) -> int:
        return self._values.pop(0)


@pytest.mark.parametrize("bits", [32, 64])
def test_positions_have_the_width_of_the_kernel(bits: int) -> None:
    page = bytearray(8)
    position = ring.Position(memoryview(page), bits)
    position.store((1 << bits) - 8)
    assert position.load() == (1 << bits) - 8
    assert int.from_bytes(page[: bits // 8], sys.byteorder) == (1 << bits) - 8
    assert position.modulus == 1 << bits


def test_halves_are_read_until_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(sys, "byteorder", "little")
    values = [4, 0xFFFFFFF8, 5, 5, 16, 5]
    position = ring.Position(_Pages(values), 64)  # type: ignore[arg-type]
    assert position.load() == 5 << 32 | 16
    assert not values
