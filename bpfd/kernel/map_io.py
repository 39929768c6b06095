# SPDX-License-Identifier: Apache-2.0
"""Many entries of a map at once.

The batch commands (Linux 5.6, commit cb4d03ab499d for hash maps; other types followed)
move many entries in one system call. Whether the kernel has them for a type of map is
found by trying, once. Where it has not, one system call is made for each entry.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfd.kernel import attributes, syscall
from bpfd.kernel.constants import BPF_F_LOCK, ENOTSUPP, Cmd, MapType
from bpfd.kernel.cpus import value_width
from bpfd.kernel.info import MapInfo

BATCH_ENTRIES = 65536
"""Entries of one batch command when writing: a cancel is seen in between."""

ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
"""Every entry exists, from the first to the last index."""

INDEXED = ARRAYS | {
    MapType.PROG_ARRAY,
    MapType.PERF_EVENT_ARRAY,
    MapType.CGROUP_ARRAY,
    MapType.ARRAY_OF_MAPS,
    MapType.DEVMAP,
    MapType.SOCKMAP,
    MapType.CPUMAP,
    MapType.XSKMAP,
    MapType.REUSEPORT_SOCKARRAY,
    MapType.INSN_ARRAY,
}
"""Keys are indexes below max_entries; an iteration cannot start again by itself."""

_NO_BATCH = (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP)
_without_batch: set[tuple[int, int]] = set()

Cancel = Callable[[], bool]


class Cancelled(Exception):
    """Nobody waits for the result any more."""


@dataclass(frozen=True)
class Shape:
    """Sizes in bytes, as system calls use them."""

    type: int
    key_size: int
    value_size: int
    """All CPUs of a per-CPU map together."""
    max_entries: int


def shape(info: MapInfo) -> Shape:
    """The shape of a map."""
    return Shape(info.type, info.key_size, value_width(info), info.max_entries)


class _Elements:
    """One bpf_attr for many calls on single entries: three times faster than new ones."""

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.key, self.value = bytearray(key_size), bytearray(value_size)
        self.attr = attributes.Elem(fd, 0, _address(self.key), _address(self.value), 0)
        self._call = syscall.libc.syscall
        self._arguments = (ctypes.byref(self.attr), ctypes.c_uint32(ctypes.sizeof(self.attr)))
        self._number = ctypes.c_long(syscall.BPF_NUMBER)

    def run(self, command: ctypes.c_int) -> int:
        """0 or the errno."""
        if self._call(self._number, command, *self._arguments) < 0:
            return ctypes.get_errno()
        return 0


def _address(buffer: bytearray) -> int:
    """Where a buffer is, as long as its size stays the same; 0 for one of size 0."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def _check(cancelled: Cancel, index: int) -> None:
    if index & 0xFFF == 0 and cancelled():
        raise Cancelled


def never() -> bool:
    """For callers that always wait."""
    return False


def lookup(
    fd: int,
    shape: Shape,
    keys: bytes,
    flags: int = 0,
    *,
    delete: bool = False,
    cancelled: Cancel = never,
) -> tuple[bytes, bytes]:
    """(one byte for each key: 1 found, 0 not; values of those found, back to back).

    Raises OSError for all but ENOENT.
    """
    size = shape.key_size
    command = Cmd.MAP_LOOKUP_AND_DELETE_ELEM if delete else Cmd.MAP_LOOKUP_ELEM
    one = _Elements(fd, size, shape.value_size)
    one.attr.flags = flags
    number = ctypes.c_int(command)
    found, values = bytearray(len(keys) // size), bytearray()
    for index in range(len(found)):
        _check(cancelled, index)
        one.key[:] = keys[index * size : (index + 1) * size]
        failed = one.run(number)
        if not failed:
            found[index] = 1
            values += one.value
        elif failed != errno.ENOENT:
            raise OSError(failed, "")
    return bytes(found), bytes(values)


def pop(fd: int, shape: Shape, most: int, *, delete: bool, cancelled: Cancel = never) -> bytes:
    """Values of a queue or stack in their order, taken out; or the next one, left there.

    Raises OSError.
    """
    command = Cmd.MAP_LOOKUP_AND_DELETE_ELEM if delete else Cmd.MAP_LOOKUP_ELEM
    one = _Elements(fd, 0, shape.value_size)
    number, values = ctypes.c_int(command), bytearray()
    for index in range(most if delete else min(most, 1)):
        _check(cancelled, index)
        failed = one.run(number)
        if failed == errno.ENOENT:
            break
        if failed:
            raise OSError(failed, "")
        values += one.value
    return bytes(values)


def contains(fd: int, shape: Shape, values: bytes, cancelled: Cancel = never) -> bytes:
    """One byte for each value: 1 the bloom filter may have it, 0 it has not. Raises OSError."""
    width = shape.value_size
    one = _Elements(fd, 0, width)
    number = ctypes.c_int(Cmd.MAP_LOOKUP_ELEM)
    found = bytearray(len(values) // width)
    for index in range(len(found)):
        _check(cancelled, index)
        one.value[:] = values[index * width : (index + 1) * width]
        failed = one.run(number)
        if not failed:
            found[index] = 1
        elif failed != errno.ENOENT:
            raise OSError(failed, "")
    return bytes(found)


def update(
    fd: int, shape: Shape, keys: bytes, values: bytes, flags: int, cancelled: Cancel = never
) -> tuple[int, int]:
    """(entries written, errno of the first one that was not, or 0)."""
    size, width = shape.key_size, shape.value_size
    count = len(values) // width
    batch = size > 0 and count > 1 and not flags & ~BPF_F_LOCK
    done = 0
    while done < count:
        if cancelled():
            raise Cancelled
        number = min(BATCH_ENTRIES, count - done)
        key_part = keys[done * size : (done + number) * size]
        value_part = values[done * width : (done + number) * width]
        written, failed = 0, ENOTSUPP
        if batch and (Cmd.MAP_UPDATE_BATCH, shape.type) not in _without_batch:
            written, failed = syscall.map_batch(
                Cmd.MAP_UPDATE_BATCH,
                fd,
                number,
                keys=key_part,
                values=value_part,
                elem_flags=flags,
            )
            if failed in (ENOTSUPP, errno.EOPNOTSUPP):
                _without_batch.add((Cmd.MAP_UPDATE_BATCH, shape.type))
        if failed in _NO_BATCH:
            # EINVAL may also be the entry's fault: then it fails again here, exactly.
            written, failed = _update_each(fd, shape, key_part, value_part, flags)
        done += written
        if failed:
            return done, failed
    return done, 0


def _update_each(
    fd: int, shape: Shape, keys: bytes, values: bytes, flags: int
) -> tuple[int, int]:
    size, width = shape.key_size, shape.value_size
    one = _Elements(fd, size, width)
    one.attr.flags = flags
    number = ctypes.c_int(Cmd.MAP_UPDATE_ELEM)
    count = len(values) // width
    for index in range(count):
        if size:
            one.key[:] = keys[index * size : (index + 1) * size]
        one.value[:] = values[index * width : (index + 1) * width]
        if failed := one.run(number):
            return index, failed
    return count, 0


def delete(
    fd: int, shape: Shape, keys: bytes, cancelled: Cancel = never
) -> tuple[int, int, int]:
    """(deleted, not there, errno of the first one that failed otherwise, or 0)."""
    size = shape.key_size
    one = _Elements(fd, size, 0)
    number = ctypes.c_int(Cmd.MAP_DELETE_ELEM)
    count, deleted, missing = len(keys) // size, 0, 0
    while (at := deleted + missing) < count:
        _check(cancelled, at)
        kind = (Cmd.MAP_DELETE_BATCH, shape.type)
        if kind not in _without_batch:
            rest = min(BATCH_ENTRIES, count - at)
            done, failed = syscall.map_batch(
                kind[0], fd, rest, keys=keys[at * size : (at + rest) * size]
            )
            if failed in (ENOTSUPP, errno.EOPNOTSUPP):
                _without_batch.add(kind)
            if failed not in _NO_BATCH:
                deleted += done
                if not failed:
                    continue
                if failed != errno.ENOENT:
                    return deleted, missing, failed
                missing += 1
                # A key that is missing is seldom alone: step on singly for a while.
        for index in range(deleted + missing, min(deleted + missing + 64, count)):
            one.key[:] = keys[index * size : (index + 1) * size]
            failed = one.run(number)
            if failed == errno.ENOENT:
                missing += 1
            elif failed:
                return deleted, missing, failed
            else:
                deleted += 1
    return deleted, missing, 0


def clear(fd: int, shape: Shape, cancelled: Cancel = never) -> tuple[int, int]:
    """Deletes what is there now: (deleted, errno or 0)."""
    keys = bytearray()
    one = _Elements(fd, shape.key_size, shape.key_size)
    for count, key in enumerate(_keys(one, shape)):
        _check(cancelled, count)
        if count >= shape.max_entries:
            break
        keys += key
    deleted, _, failed = delete(fd, shape, bytes(keys), cancelled)
    return deleted, failed


def _keys(one: _Elements, shape: Shape) -> Iterator[bytes]:
    """Keys by BPF_MAP_GET_NEXT_KEY; `one` has room for a key in its value."""
    number = ctypes.c_int(Cmd.MAP_GET_NEXT_KEY)
    address, one.attr.key = one.attr.key, 0
    while not (failed := one.run(number)):
        key = bytes(one.value)
        yield key
        one.key[:] = key
        one.attr.key = address
    if failed != errno.ENOENT:
        raise OSError(failed, "")


@dataclass
class Chunk:
    """Some entries; the views are valid until the next chunk is read."""

    keys: memoryview
    values: memoryview
    count: int
    repeats: bool = False


def read(fd: int, shape: Shape, entries: int) -> Iterator[Chunk]:
    """Every entry, about `entries` at a time. Raises OSError."""
    kind = (Cmd.MAP_LOOKUP_BATCH, shape.type)
    if kind not in _without_batch:
        chunks = _read_batches(fd, shape, entries)
        try:
            first = next(chunks, None)
        except OSError as error:
            if error.errno not in _NO_BATCH:
                raise
            _without_batch.add(kind)
        else:
            if first is not None:
                yield first
                yield from chunks
            return
    yield from _read_each(fd, shape, entries)


class Batch:
    """Buffers for BPF_MAP_LOOKUP_BATCH, used again for every call."""

    def __init__(self, fd: int, shape: Shape, entries: int) -> None:
        self._fd = fd
        self._shape = shape
        self.entries = entries
        self._in = ctypes.create_string_buffer(max(shape.key_size, 8))
        self._out = ctypes.create_string_buffer(max(shape.key_size, 8))
        self._keys = ctypes.create_string_buffer(entries * shape.key_size)
        self._values = ctypes.create_string_buffer(entries * shape.value_size)

    def lookup(self, place: bytes | None) -> tuple[int, int, bytes]:
        """(entries, errno, where to go on). `place` None: the beginning."""
        if place is not None:
            ctypes.memmove(self._in, place, len(place))
        count, failed = syscall.map_batch(
            Cmd.MAP_LOOKUP_BATCH,
            self._fd,
            self.entries,
            in_batch=None if place is None else self._in,
            out_batch=self._out,
            keys=self._keys,
            values=self._values,
        )
        return count, failed, self._out.raw

    def chunk(self, count: int) -> Chunk:
        """The first `count` entries."""
        size, width = count * self._shape.key_size, count * self._shape.value_size
        keys, values = memoryview(self._keys), memoryview(self._values)
        return Chunk(keys.cast("B")[:size], values.cast("B")[:width], count)


def _read_batches(fd: int, shape: Shape, entries: int) -> Iterator[Chunk]:
    batch = Batch(fd, shape, entries)
    place = None
    while True:
        count, failed, reached = batch.lookup(place)
        if failed == errno.ENOSPC:  # one bucket has more entries than there is room
            batch = Batch(fd, shape, batch.entries * 2)
            continue
        if failed not in (0, errno.ENOENT):
            raise OSError(failed, "")
        if count:
            yield batch.chunk(count)
        if failed:
            return
        place = reached


def _read_each(fd: int, shape: Shape, entries: int) -> Iterator[Chunk]:
    """By BPF_MAP_GET_NEXT_KEY, which starts again when its key has been deleted."""
    size = shape.key_size
    looked = _Elements(fd, size, shape.value_size)
    number = ctypes.c_int(Cmd.MAP_LOOKUP_ELEM)
    keys, values, count = bytearray(), bytearray(), 0
    first, repeats = None, False
    for steps, key in enumerate(_keys(_Elements(fd, size, size), shape)):
        if steps > 2 * shape.max_entries:
            break  # entries vanish under the iteration again and again
        repeats = repeats or key == first
        first = first or key
        looked.key[:] = key
        failed = looked.run(number)
        if not failed:
            keys += key
            values += looked.value
            count += 1
        elif failed != errno.ENOENT:
            raise OSError(failed, "")
        elif shape.type not in INDEXED:
            repeats = True
        if count == entries:
            yield Chunk(memoryview(keys), memoryview(values), count, repeats)
            keys, values, count = bytearray(), bytearray(), 0
    if count:
        yield Chunk(memoryview(keys), memoryview(values), count, repeats)


def counters(fd: int, shape: Shape) -> int:
    """Sum of all 8-byte counters of an array or per-CPU array. Raises OSError."""
    total = 0
    for chunk in read(fd, shape, min(shape.max_entries, 4096)):
        total += sum(chunk.values.cast("Q"))
    return total & (1 << 64) - 1


def indexes(keys: bytes) -> memoryview:
    """Keys of an indexed map as numbers."""
    return memoryview(keys).cast("I")


def prefix_lengths(keys: bytes, key_size: int) -> Iterator[int]:
    """The first word of each key of an LPM trie."""
    for at in range(0, len(keys), key_size):
        yield int.from_bytes(keys[at : at + 4], sys.byteorder)
