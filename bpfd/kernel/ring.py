# SPDX-License-Identifier: Apache-2.0
"""Reads a BPF ring buffer in bulk, straight from its mapped pages.

Layout and protocol are those of kernel/bpf/ringbuf.c. The producer writes a header with
the busy bit, then moves producer_pos with release semantics; to commit it takes the busy
bit away with a full barrier, after it has written the record. So a consumer may touch a
header once it has seen a producer_pos behind it, and a record once it has seen its header
without the busy bit. For a batch of records that means:

1. load producer_pos; acquire.
2. Load all headers of the batch where they are, in the mapped pages.
3. Acquire: the data is loaded after all headers.
4. Copy the data. The copy contains the headers once more, and those may be newer; a
   committed header does not change any more, so they are the same.
5. Release: the store of consumer_pos, which lets the kernel write here again, comes after
   all loads of the data.

To copy first and to check the headers of the copy would be wrong, even on x86: a copy may
read the bytes in any order, so the copied data may be older than the copied header and
miss what the producer wrote in between.

A commit changes only the busy and the discard bit, both in one byte of the header, so it
does not matter in what pieces step 2 loads a header.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bpfd.kernel import barrier

BUSY, DISCARD = 1 << 31, 1 << 30
HEADER_BYTES = 8

_PROBE = 64
"""Records whose headers are compared at once before a run is taken for long."""

_MAP_POPULATE = getattr(mmap, "MAP_POPULATE", 0)

T = TypeVar("T")


@dataclass(frozen=True)
class Taken:
    """A batch of records while it is being taken."""

    views: Sequence[memoryview]
    """The records with headers and padding; valid only until the batch was taken."""
    count: int
    record_size: int
    """Bytes of every record without header and padding; 0: they differ."""
    cpu: int | None = None


@dataclass(frozen=True)
class Records:
    """What lies at the front of a ring."""

    segments: list[tuple[int, int]]
    """First and last-plus-one byte of each stretch without discarded records."""
    end: int
    """First byte behind all of them and behind the discarded ones."""
    count: int
    record_size: int
    """Bytes of every record without header and padding; 0: they differ, or there is none."""


def scan(words: memoryview, start: int, end: int) -> Records:
    """Finds committed records that lie whole between byte `start` and byte `end`.

    `words` is the mapped ring as native 32-bit words. Looks at headers only. The first
    record is taken even if it reaches behind `end`. Runs of records of one size are
    compared with one strided copy and cost about 3 ns for each record; others are walked
    one by one and cost about 75 ns.
    """
    at, limit = start >> 2, end >> 2
    segments: list[tuple[int, int]] = []
    sizes: set[int] = set()
    begin, count = at, 0
    while at < limit:
        header = words[at]
        if header >= DISCARD:
            if header >= BUSY:
                break
            if begin < at:
                segments.append((begin << 2, at << 2))
            at += _stride(header ^ DISCARD)
            begin = at
            continue
        run = _run(words, at, limit, header, _PROBE)
        if run == _PROBE:
            run = _run(words, at, limit, header, limit)
        if not run:
            if count:
                break
            run = 1
        sizes.add(header)
        count += run
        at += run * _stride(header)
        if run < _PROBE // 4:
            at, count = _walk(words, at, limit, count, sizes)
    if begin < at:
        segments.append((begin << 2, at << 2))
    return Records(segments, at << 2, count, sizes.pop() if len(sizes) == 1 else 0)


def _stride(length: int) -> int:
    """Words from the header of a record of `length` bytes to the next header."""
    return (length + HEADER_BYTES + 7) >> 3 << 1


def _run(words: memoryview, at: int, limit: int, header: int, most: int) -> int:
    """How many of the records from `at` on have exactly this header and fit."""
    stride = _stride(header)
    number = min((limit - at) // stride, most)
    if number < 1:
        return 0
    found = words[at : at + (number - 1) * stride + 1 : stride].tobytes()
    one = header.to_bytes(4, sys.byteorder)
    if found == one * number:
        return number
    low, high = 1, number  # the first `low` are alike, the first `high` are not
    while high - low > 1:
        middle = (low + high) >> 1
        if found.startswith(one * middle):
            low = middle
        else:
            high = middle
    return low


def _walk(
    words: memoryview, at: int, limit: int, count: int, sizes: set[int]
) -> tuple[int, int]:
    """Steps over some records of mixed sizes, up to one that is busy or discarded."""
    last = count + _PROBE * 4
    while at < limit and count < last:
        header = words[at]
        following = at + ((header + 15) >> 3 << 1)
        if header >= DISCARD or following > limit:
            break
        sizes.add(header)
        at = following
        count += 1
    return at, count


class Position:
    """A position of the kernel's `unsigned long` in a mapped page.

    A 64-bit kernel below a 32-bit process has no load of 64 bits here: the halves are read
    until they agree. When such a process stores consumer_pos, the kernel may see one new
    half with one old one for a moment. It then finds the ring full (the difference to
    producer_pos is larger than the ring), a loss that the program counts, once for every
    4 GiB. A producer's half-written position must rather look smaller: `low_first`.
    """

    def __init__(self, page: memoryview, kernel_bits: int) -> None:
        self._whole: memoryview | None = None
        if kernel_bits == 32 or sys.maxsize > 1 << 32:
            self._whole = page.cast("Q" if kernel_bits == 64 else "I")
            self.modulus = 1 << kernel_bits
        else:
            self._halves = page.cast("I")
            self._low, self._high = (0, 1) if sys.byteorder == "little" else (1, 0)
            self.modulus = 1 << 64

    def load(self) -> int:
        if self._whole is not None:
            return int(self._whole[0])
        while True:
            high = self._halves[self._high]
            low = self._halves[self._low]
            if high == self._halves[self._high]:
                return int(high << 32 | low)

    def store(self, position: int, *, low_first: bool = False) -> None:
        if self._whole is not None:
            self._whole[0] = position
            return
        if low_first:
            self._halves[self._low] = position & 0xFFFFFFFF
        self._halves[self._high] = position >> 32
        self._halves[self._low] = position & 0xFFFFFFFF

    def release(self) -> None:
        view = self._whole if self._whole is not None else self._halves
        view.release()


class Ring:
    """The consumer's end of one ring buffer map; there must be only one in the system."""

    def __init__(self, fd: int, size: int, kernel_bits: int) -> None:
        """Maps the ring behind `fd`, whose max_entries is `size`; `fd` is duplicated.

        Raises OSError, and NotSupported from `bpfd.kernel.barrier`.
        """
        self._acquire, self._release = barrier.fences()
        self.size = size
        page = mmap.PAGESIZE
        self.fd = os.dup(fd)
        maps: list[mmap.mmap] = []
        try:
            # Readable pages are mapped beforehand: the first pass would fault on each.
            shared = mmap.MAP_SHARED | _MAP_POPULATE
            read = mmap.PROT_READ
            maps.append(mmap.mmap(self.fd, page, shared, read | mmap.PROT_WRITE))
            maps.append(mmap.mmap(self.fd, page + 2 * size, shared, read, offset=page))
        except (OSError, ValueError):
            for each in maps:
                each.close()
            os.close(self.fd)
            raise
        self._maps = maps
        self._consumer = Position(memoryview(maps[0])[:8], kernel_bits)
        rest = memoryview(maps[1])
        self._producer = Position(rest[:8], kernel_bits)
        self._data = rest[page:]
        self._words = self._data.cast("I")
        rest.release()

    @property
    def poll_fds(self) -> list[int]:
        """Descriptors that become readable when a record arrives with a wake-up."""
        return [self.fd]

    def lost(self) -> int:
        """Records that the ring itself knows to be lost: a ring buffer map knows none."""
        return 0

    def pending(self) -> int:
        """Bytes that wait, headers and busy records included."""
        behind = self._producer.load() - self._consumer.load()
        return int(behind % self._producer.modulus)

    def drain(self, most: int, take: Callable[[Taken], T]) -> T | None:
        """Takes whole records of up to `most` bytes, or one that is longer.

        When `take` raises, the records stay. None: nothing was there but discarded records.
        """
        while True:
            consumed = self._consumer.load()
            waiting = (self._producer.load() - consumed) % self._producer.modulus
            if not waiting:
                return None
            self._acquire()
            start = consumed & self.size - 1
            records = scan(self._words, start, start + min(waiting, most, self.size))
            if records.end == start:
                return None
            result = self._take(records, take) if records.count else None
            self._release()
            self._consumer.store((consumed + records.end - start) % self._consumer.modulus)
            if records.count:
                return result

    def _take(self, records: Records, take: Callable[[Taken], T]) -> T:
        self._acquire()
        views = [self._data[first:last] for first, last in records.segments]
        try:
            return take(Taken(views, records.count, records.record_size))
        finally:
            for view in views:
                view.release()

    def close(self) -> None:
        """Unmaps; records that were not taken stay in the map."""
        self._words.release()
        self._data.release()
        self._consumer.release()
        self._producer.release()
        for each in self._maps:
            each.close()
        os.close(self.fd)
