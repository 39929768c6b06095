# SPDX-License-Identifier: Apache-2.0
"""Records for user ring buffers, and the producer's end of one."""

from __future__ import annotations

import mmap
import os
import struct

import pytest

from bpfd.kernel import host, syscall, user_ring
from bpfd.kernel.constants import MapType


def record(data: bytes) -> bytes:
    return struct.pack("=II", len(data), 0) + data + bytes(-len(data) % 8)


def test_records_end_with_their_padding() -> None:
    assert user_ring.split(record(b"x") + record(b"12345678") + record(b"123456789")) == [
        *(16, 32, 56)
    ]
    assert user_ring.split(b"") == []


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (b"1234", "cut off at byte 0"),
        (record(b"x")[:-1], "before byte 16 is cut off"),
        (struct.pack("=II", 0, 0), "is empty"),
        (struct.pack("=II", 1 << 31 | 8, 0) + bytes(8), "is none"),
        (struct.pack("=II", 1 << 30 | 8, 0) + bytes(8), "is none"),
        (struct.pack("=II", 8, 1) + bytes(8), "is none"),
        (struct.pack("=II", (1 << 30) - 1, 0), "is cut off"),
    ],
)
def test_damaged_records_are_refused(records: bytes, words: str) -> None:
    with pytest.raises(user_ring.Damaged, match=words):
        user_ring.split(records)


@pytest.mark.parametrize(("room", "count"), [(0, 0), (15, 0), (16, 1), (39, 2), (40, 3)])
def test_whole_records_fit(room: int, count: int) -> None:
    assert user_ring.fitting([16, 32, 40], room) == count
    assert user_ring.fitting([], room) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_ring_takes_what_fits_and_no_more() -> None:
    size = mmap.PAGESIZE
    try:
        fd = syscall.map_create(MapType.USER_RINGBUF, 0, 0, size)
    except OSError:
        pytest.skip("this kernel has no user ring buffers (since 6.1)")
    try:
        ring = user_ring.UserRing(fd, size, host.host().pointer_bits)
        one = record(b"12345678")
        assert ring.free() == size
        assert ring.submit(one * 3, [16, 32, 48]) == 3
        assert ring.free() == size - 48
        ends = list(range(16, size + 1, 16))
        assert ring.submit(one * len(ends), ends) == len(ends) - 3
        assert ring.free() == 0
        assert ring.submit(one, [16]) == 0
        ring.close()
        again = user_ring.UserRing(fd, size, host.host().pointer_bits)
        assert again.free() == 0
        again.close()
    finally:
        os.close(fd)
