# SPDX-License-Identifier: Apache-2.0
"""Arrays of maps, read as on a kernel whose lookups wait."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bpfd.kernel import info, map_io, map_presence, syscall
from bpfd.kernel.constants import MapType

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

THERE = [0, 3, 255, 256, 999]


@pytest.fixture
def outer() -> Iterator[int]:
    with ExitStack() as stack:
        inner = syscall.map_create(MapType.ARRAY, 4, 8, 1)
        stack.callback(os.close, inner)
        fd = syscall.map_create(MapType.ARRAY_OF_MAPS, 4, 4, 1000, inner_map_fd=inner)
        stack.callback(os.close, fd)
        for index in THERE:
            syscall.map_update_elem(fd, struct.pack("=I", index), struct.pack("=I", inner))
        yield fd


def test_program_finds_the_entries_that_are_there(outer: int) -> None:
    assert map_presence.present(outer, 1000) == THERE


@pytest.mark.parametrize("entries", [2, 1000])
def test_it_reads_what_a_batch_reads(outer: int, entries: int) -> None:
    shape = map_io.shape(info.map_info(outer))

    def pairs(chunks: Iterator[map_io.Chunk]) -> list[tuple[bytes, bytes]]:
        return [
            (bytes(chunk.keys[at : at + 4]), bytes(chunk.values[at : at + 4]))
            for chunk in chunks
            for at in range(0, 4 * chunk.count, 4)
        ]

    found = pairs(map_presence.read(outer, shape, entries, THERE))
    assert found == pairs(map_io.read(outer, shape, 1000))
    assert len(found) == len(THERE)


def test_waits_are_seen(outer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = map_io.shape(info.map_info(outer))
    quick = map_io.lookup

    def slow(fd: int, shape: map_io.Shape, key: bytes) -> tuple[bytes, bytes]:
        time.sleep(0.005)
        return quick(fd, shape, key)

    assert not map_presence.waits(outer, shape)
    monkeypatch.setattr(map_io, "lookup", slow)
    assert map_presence.waits(outer, shape)
    (chunk,) = map_presence.chunks(outer, shape, 100)
    assert chunk.count == len(THERE)
