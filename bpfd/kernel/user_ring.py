# SPDX-License-Identifier: Apache-2.0
"""Writes into a BPF user ring buffer (kernel 6.1, commit 583c1f420173), from its mapped pages.

Layout and protocol are those of kernel/bpf/ringbuf.c with the roles exchanged: user space
moves producer_pos and writes headers, the kernel moves consumer_pos when a program drains the
ring. For a batch of records that means:

1. load consumer_pos; acquire: what the kernel has read may be overwritten.
2. Store headers and data behind producer_pos. The kernel does not look there.
3. Release, then store producer_pos: the kernel loads it with acquire semantics
   (__bpf_user_ringbuf_peek) and sees every header and byte before it.

Headers are written without the busy bit: a record that is not complete is never behind
producer_pos, so that there is nothing to commit.
"""

from __future__ import annotations

import mmap
import struct

from bpfd.kernel import barrier
from bpfd.kernel.ring import BUSY, DISCARD, HEADER_BYTES, Position


class Damaged(ValueError):
    """The records are not headers and data as they should be; nothing was written."""


def split(records: bytes) -> list[int]:
    """Where each record ends, padding included. Pure.

    Raises Damaged.
    """
    ends = []
    at = 0
    while at < len(records):
        if at + HEADER_BYTES > len(records):
            raise Damaged(f"a header is cut off at byte {at}")
        length, rest = struct.unpack_from("=II", records, at)
        if rest or length & (BUSY | DISCARD):
            raise Damaged(f"the header at byte {at} is none")
        if not length:
            raise Damaged(f"the record at byte {at} is empty")
        at += (length + HEADER_BYTES + 7) // 8 * 8
        if at > len(records):
            raise Damaged(f"the record before byte {at} is cut off")
        ends.append(at)
    return ends


def fitting(ends: list[int], room: int) -> int:
    """How many records, of those that end there, fit into that many bytes. Pure."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if ends[middle - 1] <= room:
            low = middle
        else:
            high = middle - 1
    return low


class UserRing:
    """The producer's end of one user ring buffer; there must be only one at a time."""

    def __init__(self, fd: int, size: int, kernel_bits: int) -> None:
        """Maps the ring behind `fd`, whose max_entries is `size`.

        Raises OSError, and NotSupported from `bpfd.kernel.barrier`.
        """
        self._acquire, self._release = barrier.fences()
        self.size = size
        page = mmap.PAGESIZE
        maps: list[mmap.mmap] = []
        try:
            # The kernel maps consumer_pos for reading alone, the rest for writing.
            maps.append(mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ))
            both = mmap.PROT_READ | mmap.PROT_WRITE
            maps.append(mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, both, offset=page))
        except (OSError, ValueError):
            for each in maps:
                each.close()
            raise
        self._maps = maps
        self._consumer = Position(memoryview(maps[0])[:8], kernel_bits)
        rest = memoryview(maps[1])
        self._producer = Position(rest[:8], kernel_bits)
        self._data = rest[page:]
        rest.release()

    def free(self) -> int:
        """Bytes of records that fit now, headers included."""
        waiting = (self._producer.load() - self._consumer.load()) % self._producer.modulus
        return max(0, self.size - waiting)

    def submit(self, records: bytes, ends: list[int]) -> int:
        """Writes records as far as they fit; gives their number."""
        count = fitting(ends, self.free())
        if not count:
            return 0
        self._acquire()
        produced = self._producer.load()
        size = ends[count - 1]
        # The data is mapped twice in a row, so that nothing ever wraps.
        start = produced & self.size - 1
        self._data[start : start + size] = records[:size]
        self._release()
        self._producer.store((produced + size) % self._producer.modulus, low_first=True)
        return count

    def close(self) -> None:
        """Unmaps; what was submitted stays."""
        self._data.release()
        self._consumer.release()
        self._producer.release()
        for each in self._maps:
            each.close()
