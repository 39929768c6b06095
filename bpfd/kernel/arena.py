# SPDX-License-Identifier: Apache-2.0
"""Memory of a BPF arena (kernel 6.9, commit 317460317a02), read and written by its offsets.

An arena is mapped at one address by every process (arena_map_mmap() of kernel/bpf/arena.c):
the one in map_extra, or the one where it was mapped first, which the kernel does not tell
afterwards. So arenas that this daemon makes get `ADDRESS` where they name none. A page that
nobody has allocated is allocated by looking at it, or, with BPF_F_SEGV_ON_FAULT, is none; the
mapping is read through /proc/self/mem, which then fails as a system call does.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import threading

from bpfd.kernel.syscall import libc

ADDRESS = 1 << 38
"""Where there is room in every layout of 39 bits and more; nothing else is mapped there."""

LOCK = threading.RLock()
"""Arenas share addresses: one is mapped at a time, by libbpf while it loads one, too."""

_MAP_FIXED_NOREPLACE = 0x100000
_MAP_FAILED = ctypes.c_void_p(-1).value

libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_long,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def read(fd: int, address: int, pages: int, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on of the arena of so many pages (its max_entries).

    `address` 0: it does not say. Raises OSError: EBUSY when the arena is mapped elsewhere,
    EFAULT where it has no page.
    """
    with LOCK:
        start = _mapped(fd, address, pages)
        try:
            memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(memory, size, start + offset)
            finally:
                os.close(memory)
        except OSError as error:
            raise _fault(error) from None
        finally:
            libc.munmap(start, pages * mmap.PAGESIZE)
    if len(data) < size:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return data


def write(fd: int, address: int, pages: int, offset: int, data: bytes) -> None:
    """The same the other way round; a part may be written when it raises."""
    with LOCK:
        start = _mapped(fd, address, pages)
        try:
            memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
            try:
                done = os.pwrite(memory, data, start + offset)
            finally:
                os.close(memory)
        except OSError as error:
            raise _fault(error) from None
        finally:
            libc.munmap(start, pages * mmap.PAGESIZE)
    if done < len(data):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


def possible() -> bool:
    """Whether this process has addresses for arenas: not one of 32 bits."""
    return sys.maxsize > 1 << 32


def _mapped(fd: int, address: int, pages: int) -> int:
    flags = mmap.MAP_SHARED | (_MAP_FIXED_NOREPLACE if address else 0)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    found = libc.mmap(address, pages * mmap.PAGESIZE, protection, flags, fd, 0)
    if found in (None, _MAP_FAILED):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(found)


def _fault(error: OSError) -> OSError:
    return (
        OSError(errno.EFAULT, os.strerror(errno.EFAULT)) if error.errno == errno.EIO else error
    )
