# SPDX-License-Identifier: Apache-2.0
"""Reads an array of maps where every lookup from user space waits for the whole kernel.

Before Linux 6.8 (c26f2a890139) bpf_map_copy_value() waits for an RCU grace period, tens of
milliseconds, at each lookup in a map of maps, of an empty entry as well, and in batches too:
an array of 65536 takes half an hour. A BPF program does not wait. One that looks up 256 entries
a run says which are there, and only those are looked up, by several threads, whose waits the
kernel answers together.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bpfd.kernel import map_io, syscall
from bpfd.kernel.constants import (
    BPF_LD_IMM64,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
    MapType,
    ProgType,
)

_WINDOW = 256
"""Entries of one run; the verifier walks the loop once for each."""

_SLOW_SECONDS = 0.002
"""A lookup takes microseconds, or a grace period."""

_THREADS = 32
_LOOKUP = 1  # BPF_FUNC_map_lookup_elem


def waits(fd: int, shape: map_io.Shape) -> bool:
    """Whether lookups in this map are slow, as two of them show."""
    if shape.type != MapType.ARRAY_OF_MAPS:
        return False
    for _ in range(2):
        start = time.monotonic()
        map_io.lookup(fd, shape, struct.pack("=I", 0))
        if time.monotonic() - start < _SLOW_SECONDS:
            return False
    return True


def chunks(fd: int, shape: map_io.Shape, entries: int) -> Iterator[map_io.Chunk]:
    """`map_io.read`, or `read` where that would wait and a program can be loaded."""
    if waits(fd, shape):
        try:
            there = present(fd, shape.max_entries)
        except OSError:
            pass
        else:
            return read(fd, shape, entries, there)
    return map_io.read(fd, shape, entries)


def read(
    fd: int, shape: map_io.Shape, entries: int, there: list[int]
) -> Iterator[map_io.Chunk]:
    """The entries of these indexes, as `map_io.read` gives them. Raises OSError."""
    keys = [struct.pack("=I", index) for index in there]
    with ThreadPoolExecutor(_THREADS) as pool:
        for at in range(0, len(keys), entries):
            some = keys[at : at + entries]
            found = pool.map(lambda key: map_io.lookup(fd, shape, key), some)
            pairs = [
                (key, value)
                for key, (flag, value) in zip(some, found, strict=True)
                if flag == b"\1"
            ]
            if pairs:
                yield map_io.Chunk(
                    memoryview(b"".join(key for key, _ in pairs)),
                    memoryview(b"".join(value for _, value in pairs)),
                    len(pairs),
                )


def present(fd: int, max_entries: int) -> list[int]:
    """Indexes of an array of maps that hold one. Raises OSError."""
    size = 4 + _WINDOW
    window = syscall.map_create(MapType.ARRAY, 4, size, 1, name="bpfd_window")
    try:
        program = syscall.prog_load(
            ProgType.SOCKET_FILTER, instructions(fd, window), "GPL", name="bpfd_present"
        )
        try:
            found: list[int] = []
            key = struct.pack("=I", 0)
            for base in range(0, max_entries, _WINDOW):
                start = struct.pack("=I", base) + bytes(_WINDOW)
                syscall.map_update_elem(window, key, start)
                syscall.prog_test_run(program, bytes(14))
                flags = syscall.map_lookup_elem(window, key, size)[4:]
                found.extend(base + index for index, flag in enumerate(flags) if flag)
            return found
        finally:
            os.close(program)
    finally:
        os.close(window)


def instructions(outer: int, window: int) -> bytes:
    """A socket filter that looks `_WINDOW` entries of `outer` up, from the number in the first
    4 bytes of `window`'s value on, and sets a byte behind it for each that is there. Pure."""
    body = [
        _one(0x61, 8, 6),  # r8 = *(u32 *)(r6 + 0)
        _one(0x0F, 8, 7),  # r8 += r7
        _one(0x63, 10, 8, offset=-4),  # *(u32 *)(r10 - 4) = r8
        *_load(1, BPF_PSEUDO_MAP_FD, outer),
        _one(0xBF, 2, 10),  # r2 = r10
        _one(0x07, 2, value=-4),  # r2 += -4
        _one(0x85, value=_LOOKUP),
        _one(0x15, 0, offset=3),  # if r0 == 0 skip three
        _one(0xBF, 2, 6),  # r2 = r6
        _one(0x0F, 2, 7),  # r2 += r7
        _one(0x72, 2, offset=4, value=1),  # *(u8 *)(r2 + 4) = 1
        _one(0x07, 7, value=1),  # r7 += 1
    ]
    back = _one(0xA5, 7, offset=-(len(body) + 1), value=_WINDOW)  # if r7 < _WINDOW goto body
    code = [
        *_load(6, BPF_PSEUDO_MAP_VALUE, window),
        _one(0xB7, 7),  # r7 = 0
        *body,
        back,
        _one(0xB7, 0),  # r0 = 0
        _one(0x95),
    ]
    return b"".join(code)


def _one(
    opcode: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    registers = source << 4 | destination
    if sys.byteorder == "big":
        registers = destination << 4 | source
    return struct.pack("=BBhi", opcode, registers, offset, value)


def _load(destination: int, kind: int, fd: int) -> list[bytes]:
    """The two halves of a load of a map, or of the address of its value."""
    return [_one(BPF_LD_IMM64, destination, kind, value=fd), _one(0)]
