# SPDX-License-Identifier: Apache-2.0
"""Reads a large hash map in several parts at once.

Reading a hash map of a million entries means a million cache and TLB misses, one after the
other, so two CPUs are twice as fast as one. The place that BPF_MAP_LOOKUP_BATCH returns is,
for hash maps, the number of the next bucket (kernel/bpf/hashtab.c), and an entry never
changes its bucket; so a part can start at any bucket. The documentation calls the place
opaque: `splittable` proves on a small map of the same type that this kernel means it so.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from collections.abc import Iterator

from bpfd.kernel import map_io, syscall
from bpfd.kernel.constants import MapType
from bpfd.kernel.info import map_info

_TYPES = (
    MapType.HASH,
    MapType.LRU_HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
)
_SMALLEST = 65536
"""Entries of a map that is worth more than one thread."""

_LAST = 64
"""Entries of the batch that may reach into the next part."""

_proven: dict[int, bool] = {}


def splittable(map_type: int) -> bool:
    """Whether this kernel's places are bucket numbers for this type of map; tried once."""
    if map_type not in _TYPES:
        return False
    if map_type not in _proven:
        try:
            _proven[map_type] = _prove(map_type)
        except OSError:
            _proven[map_type] = False
    return _proven[map_type]


def _prove(map_type: int) -> bool:
    """Reading from any bucket on gives the end of what reading from the first one gives."""
    buckets = 64
    fd = syscall.map_create(map_type, 4, 8, buckets, name="bpfd_probe")
    try:
        shape = map_io.shape(map_info(fd))
        keys = struct.pack("=40I", *range(40))
        map_io.update(fd, shape, keys, bytes(40 * shape.value_size), 0)
        whole = _keys_from(fd, shape, 0)
        if sorted(whole) != list(range(40)):
            return False
        rests = [_keys_from(fd, shape, bucket) for bucket in range(buckets)]
        shrink = [len(rest) for rest in rests]
        return (
            all(whole[len(whole) - len(rest) :] == rest for rest in rests)
            and shrink == sorted(shrink, reverse=True)
            and shrink[buckets // 2] not in (0, 40)
            and not _keys_from(fd, shape, buckets)
        )
    finally:
        os.close(fd)


def _keys_from(fd: int, shape: map_io.Shape, bucket: int) -> list[int]:
    part = Part(fd, shape, 64, bucket, None)
    return [key for chunk in part.read() for key in chunk.keys.cast("I")]


def parts(fd: int, shape: map_io.Shape, entries: int, number: int) -> list[Part]:
    """Up to `number` parts that together hold every entry; empty: read it as one."""
    if number < 2 or shape.max_entries < _SMALLEST or not splittable(shape.type):
        return []
    buckets = 1 << (shape.max_entries - 1).bit_length()
    found: list[Part] = []
    following = None
    for index in reversed(range(number)):
        following = Part(fd, shape, entries, buckets * index // number, following)
        found.insert(0, following)
    return found


class Part:
    """The entries from one bucket up to where the next part begins."""

    def __init__(
        self, fd: int, shape: map_io.Shape, entries: int, start: int, following: Part | None
    ) -> None:
        self._fd = fd
        self._shape = shape
        self._entries = entries
        self._start = start
        self._following = following
        self._first_keys = b""
        self._begun = threading.Event()

    def read(self) -> Iterator[map_io.Chunk]:
        """The entries, as `map_io.read` gives them. Raises OSError."""
        try:
            for chunk in self._read():
                if not self._begun.is_set():
                    self._first_keys = bytes(chunk.keys)
                    self._begun.set()
                yield chunk
        finally:
            self._begun.set()

    def _read(self) -> Iterator[map_io.Chunk]:
        batch = map_io.Batch(self._fd, self._shape, self._entries)
        place = self._start
        while True:
            count, failed, out = batch.lookup(place.to_bytes(4, sys.byteorder))
            reached = int.from_bytes(out[:4], sys.byteorder)
            if failed == errno.ENOSPC:
                batch = map_io.Batch(self._fd, self._shape, batch.entries * 2)
                continue
            if failed not in (0, errno.ENOENT):
                raise OSError(failed, "")
            stop = self._following._start if self._following else None
            over = stop is not None and (failed or reached > stop)
            if over and batch.entries > _LAST:
                # Part of it belongs to the next part: take less.
                batch = map_io.Batch(self._fd, self._shape, batch.entries // 2)
                continue
            chunk = batch.chunk(count)
            if over:
                chunk = self._without_following(chunk)
            if chunk.count:
                yield chunk
            if failed or over or reached == stop:
                return
            place = reached

    def _without_following(self, chunk: map_io.Chunk) -> map_io.Chunk:
        """Leaves out what the next part has seen: at most the first few of its entries."""
        assert self._following is not None
        self._following._begun.wait()
        size, width = self._shape.key_size, self._shape.value_size
        theirs = self._following._first_keys
        seen = {theirs[at : at + size] for at in range(0, len(theirs), size)}
        keys, values, count = bytearray(), bytearray(), 0
        for index in range(chunk.count):
            key = bytes(chunk.keys[index * size : (index + 1) * size])
            if key not in seen:
                keys += key
                values += chunk.values[index * width : (index + 1) * width]
                count += 1
        return map_io.Chunk(memoryview(keys), memoryview(values), count)
