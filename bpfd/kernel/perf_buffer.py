# SPDX-License-Identifier: Apache-2.0
"""Reads a perf event array: one mapped buffer for each CPU.

Records come out in the form of a ring buffer's (see `EventBatch` in events.proto), so that
clients know one form only. The kernel pads what a program submits so that its length plus
4 is a multiple of 8; the original length is not recorded, so the padding stays.

Order of accesses, from perf_output_put_handle() in kernel/events/ring_buffer.c: the kernel
writes records, then data_head, then looks at data_tail. Here: load data_head, acquire,
read records, release, store data_tail.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Callable
from typing import TypeVar

from bpfd.kernel import barrier, host, perf_event, syscall
from bpfd.kernel.ring import Taken

_TYPE_SOFTWARE, _CONFIG_BPF_OUTPUT = 1, 10
_SAMPLE_RAW = 1 << 10
_FORMAT_LOST = 1 << 4  # Linux 6.0, commit 119a784c8127
_WATERMARK = 1 << 14
_RECORD_LOST, _RECORD_SAMPLE = 2, 9
_DATA_HEAD, _DATA_TAIL = 1024, 1032  # struct perf_event_mmap_page

_HEADER = struct.Struct("=IHH")
_LOST = struct.Struct("=QQ")
_OUT = struct.Struct("=II")

T = TypeVar("T")


def convert(
    buffer: memoryview, start: int, end: int
) -> tuple[list[bytes | memoryview], int, int, int]:
    """Turns perf records into ring buffer records.

    `buffer` is a power of two in size and wraps; positions count on. Returns the pieces of
    the converted records, how many they are, the length of each (0: they differ) and the
    sum of the PERF_RECORD_LOST among them.
    """
    mask = len(buffer) - 1
    parts: list[bytes | memoryview] = []
    count = lost = 0
    sizes: set[int] = set()
    while start < end:
        at = start & mask
        kind, _, size = _HEADER.unpack_from(buffer, at)
        if size < 8:
            break
        if at + size <= len(buffer):
            record = buffer[at : at + size]
        else:
            record = memoryview(bytes(buffer[at:]) + bytes(buffer[: at + size - len(buffer)]))
        if kind == _RECORD_SAMPLE:
            length = int.from_bytes(record[8:12], sys.byteorder)
            parts += (_OUT.pack(length, 0), record[12 : 12 + length])
            if padding := -length & 7:
                parts.append(bytes(padding))
            sizes.add(length)
            count += 1
        elif kind == _RECORD_LOST:
            lost += _LOST.unpack_from(record, 8)[1]
        start += size
    return parts, count, sizes.pop() if len(sizes) == 1 else 0, lost


class _CpuBuffer:
    """The buffer of one CPU."""

    def __init__(self, cpu: int, pages: int) -> None:
        self.cpu = cpu
        self._acquire, self._release = barrier.fences()
        self._counted = 0
        size = pages * mmap.PAGESIZE
        self.fd, self._counts = _open(cpu, size // 4)
        try:
            self._map = mmap.mmap(self.fd, mmap.PAGESIZE + size, mmap.MAP_SHARED)
            fcntl.ioctl(self.fd, perf_event._ioctl_numbers()[0], 0)
        except (OSError, ValueError):
            os.close(self.fd)
            raise
        whole = memoryview(self._map)
        self.data = whole[mmap.PAGESIZE :]
        self._positions = whole[_DATA_HEAD : _DATA_TAIL + 8].cast("Q")
        whole.release()

    def window(self) -> tuple[int, int]:
        """Where unread records begin and end, as positions that count on."""
        # A 32-bit process may read halves of different moments; only the low bits are
        # used here, in differences below the size of the buffer.
        mask = 0xFFFFFFFF if sys.maxsize < 1 << 32 else (1 << 64) - 1
        head, tail = self._positions[0] & mask, self._positions[1] & mask
        return tail, tail + ((head - tail) & mask)

    def drain(self, most: int, take: Callable[[Taken], T]) -> T | None:
        """As `Ring.drain`."""
        start, end = self.window()
        if start == end:
            return None
        self._acquire()
        end = self._cut(start, end, most)
        parts, count, size, lost = convert(self.data, start, end)
        result = None
        if count:
            views = [memoryview(b"".join(parts))]
            result = take(Taken(views, count, size, self.cpu))
        self._counted += lost
        parts.clear()
        self._release()
        self._positions[1] = end
        return result

    def _cut(self, start: int, end: int, most: int) -> int:
        """The end of the last record that ends within `most` bytes, or of the first."""
        if end - start <= most:
            return end
        mask = len(self.data) - 1
        at = start
        while True:
            size = _HEADER.unpack_from(self.data, at & mask)[2]
            if size < 8 or (at > start and at + size - start > most):
                return at
            at += size

    def lost(self) -> int:
        """Records that found the buffer full since it was opened."""
        if self._counts:
            return int.from_bytes(os.read(self.fd, 16)[8:16], sys.byteorder)
        return self._counted

    def close(self) -> None:
        """Unmaps and closes."""
        self._positions.release()
        self.data.release()
        self._map.close()
        os.close(self.fd)


def _open(cpu: int, watermark: int) -> tuple[int, bool]:
    """The fd of a CPU's event, and whether reading it tells how many records were lost."""
    for read_format in (_FORMAT_LOST, 0):
        attr = perf_event._Attr(
            type=_TYPE_SOFTWARE,
            config=_CONFIG_BPF_OUTPUT,
            sample_type=_SAMPLE_RAW,
            sample_period=1,
            read_format=read_format,
            flags=_WATERMARK,
            wakeup_events=watermark,
        )
        try:
            return perf_event._open(attr, -1, cpu), bool(read_format)
        except OSError as error:
            if error.errno != errno.EINVAL or not read_format:
                raise
    raise AssertionError("unreachable")


class PerfBuffers:
    """The buffers of all online CPUs behind one perf event array.

    They wake up a reader when a quarter is full; who wants records earlier looks at times.
    """

    def __init__(self, map_fd: int, max_entries: int, pages: int) -> None:
        """Opens `pages` pages for each CPU and enters them into the map.

        Raises OSError.
        """
        self._map_fd = os.dup(map_fd)
        self._buffers: list[_CpuBuffer] = []
        self._next = 0
        self.size = pages * mmap.PAGESIZE
        try:
            for cpu in host.online_cpus():
                if cpu >= max_entries:
                    continue
                buffer = _CpuBuffer(cpu, pages)
                self._buffers.append(buffer)
                key, value = struct.pack("=I", cpu), struct.pack("=I", buffer.fd)
                syscall.map_update_elem(self._map_fd, key, value)
        except OSError:
            self.close()
            raise

    @property
    def poll_fds(self) -> list[int]:
        """Descriptors that become readable when a buffer is a quarter full."""
        return [buffer.fd for buffer in self._buffers]

    def lost(self) -> int:
        """Records that found their buffer full since it was opened."""
        return sum(buffer.lost() for buffer in self._buffers)

    def pending(self) -> int:
        """Bytes that wait in the fullest buffer."""
        windows = (buffer.window() for buffer in self._buffers)
        return max((end - start for start, end in windows), default=0)

    def drain(self, most: int, take: Callable[[Taken], T]) -> T | None:
        """As `Ring.drain`, from one CPU after the other."""
        for _ in self._buffers:
            buffer = self._buffers[self._next]
            self._next = (self._next + 1) % len(self._buffers)
            result = buffer.drain(most, take)
            if result is not None:
                return result
        return None

    def close(self) -> None:
        """Takes the buffers out of the map and closes them."""
        for buffer in self._buffers:
            with contextlib.suppress(OSError):  # the CPU may not have been entered yet
                syscall.map_delete_elem(self._map_fd, struct.pack("=I", buffer.cpu))
            buffer.close()
        self._buffers.clear()
        os.close(self._map_fd)
