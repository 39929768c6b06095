# SPDX-License-Identifier: Apache-2.0
"""The ring reader and the kernel's writer agree."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator

import pytest

from bpfd import errors
from bpfd.kernel import attributes, elf_object, syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.host import host
from bpfd.kernel.info import map_info
from bpfd.kernel.load_options import LoadOptions, MapSetting
from bpfd.kernel.ring import Ring, Taken
from tests.kernel.clang import clang, compiled

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

SIZE = 1 << 16
FIXED, TWO_SIZES, DISCARD, LONG = range(4)

Produce = Callable[..., None]


@pytest.fixture
def loaded() -> Iterator[tuple[Ring, Produce]]:
    options = LoadOptions(maps={"ev_ring": MapSetting(max_entries=SIZE)})
    try:
        found, most = elf_object.load("ev", compiled("events"), options), 1 << 32
    except errors.VerifierRejected:  # a kernel that interprets BPF allows no callbacks
        found = elf_object.load("ev", compiled("events", "WITHOUT_CALLBACKS"), options)
        most = 16
    fd = found.maps["ev_ring"].fd
    ring = Ring(fd, map_info(fd).max_entries, host().pointer_bits)

    def produce(count: int, kind: int = FIXED) -> None:
        for first in range(0, count, most):
            produce_some(min(most, count - first), kind, first)

    def produce_some(count: int, kind: int, first: int) -> None:
        context = struct.pack("=4Q", count, kind, 1, first)
        buffer = ctypes.create_string_buffer(context, len(context))
        attr = attributes.TestRun(
            prog_fd=found.programs["produce"].fd,
            ctx_in=ctypes.addressof(buffer),
            ctx_size_in=len(context),
        )
        syscall.bpf(Cmd.PROG_TEST_RUN, attr)

    try:
        yield ring, produce
    finally:
        ring.close()
        found.close()


def _copy(taken: Taken) -> tuple[int, int, bytes]:
    return taken.count, taken.record_size, b"".join(taken.views)


def test_an_empty_ring_gives_nothing(loaded: tuple[Ring, Produce]) -> None:
    ring, _ = loaded
    assert ring.drain(SIZE, _copy) is None
    assert ring.pending() == 0


@pytest.mark.parametrize("kind", [FIXED, TWO_SIZES, DISCARD, LONG])
def test_every_record_comes_once_over_many_turns_of_the_ring(
    loaded: tuple[Ring, Produce], kind: int
) -> None:
    ring, produce = loaded
    each = 11 if kind == LONG else 1000
    expected, found = 0, []
    for _ in range(30):
        produce(each, kind)
        expected += each - each // 3 if kind == DISCARD else each
        while (taken := ring.drain(7777, _copy)) is not None:
            count, _, data = taken
            numbers = list(_numbers(data))
            assert len(numbers) == count
            found += numbers
    assert found == list(range(expected))
    assert ring.pending() == 0


def _numbers(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("=I", data, at)
        yield struct.unpack_from("=Q", data, at + 8)[0]
        at += (length + 15) // 8 * 8


def test_limit_is_kept_but_for_a_single_long_record(loaded: tuple[Ring, Produce]) -> None:
    ring, produce = loaded
    produce(100)
    assert ring.drain(100, _copy) is not None
    assert ring.pending() == 98 * 48
    produce(2, LONG)
    while ring.pending() > 2 * 5008:
        ring.drain(48, _copy)
    taken = ring.drain(48, _copy)
    assert taken is not None
    assert taken[:2] == (1, 5000)


def test_records_stay_when_taking_them_fails(loaded: tuple[Ring, Produce]) -> None:
    ring, produce = loaded
    produce(10)

    def fail(taken: Taken) -> None:
        raise RuntimeError(str(taken.count))

    with pytest.raises(RuntimeError, match="10"):
        ring.drain(SIZE, fail)
    taken = ring.drain(SIZE, _copy)
    assert taken is not None
    assert taken[0] == 10


def test_a_full_ring_is_full_to_the_last_record(loaded: tuple[Ring, Produce]) -> None:
    ring, produce = loaded
    produce(5000)
    taken = ring.drain(SIZE, _copy)
    assert taken is not None
    assert taken[0] == SIZE // 48
    assert ring.pending() == 0


def test_close_gives_everything_back(loaded: tuple[Ring, Produce]) -> None:
    ring, _ = loaded
    before = len(os.listdir("/proc/self/fd"))
    again = Ring(ring.fd, SIZE, host().pointer_bits)
    again.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with open("/proc/self/maps") as maps:
        assert sum("bpf-map" in line for line in maps) == 2
