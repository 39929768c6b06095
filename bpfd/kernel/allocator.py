# SPDX-License-Identifier: Apache-2.0
"""Keeps the C library from giving memory back between two messages of a bulk stream.

Every message of a megabyte is allocated several times on its way (in Python and in gRPC).
glibc serves such sizes from fresh mappings, or trims the heap after each free, so every
message pays for hundreds of page faults: they cost more than all copies together
(docs/design/006-bulk-streams.md has the figures).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEEP, _DEFAULT = 32 << 20, 128 << 10

_lock = threading.Lock()
_users = 0


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _set(threshold: int) -> None:
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, threshold)
        library.mallopt(_TRIM_THRESHOLD, threshold)


@contextlib.contextmanager
def bulk() -> Iterator[None]:
    """Memory is kept for reuse while bulk streams run, and given back behind the last one.

    Other C libraries than glibc are left as they are.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _set(_KEEP)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(_DEFAULT)
                if (library := _glibc()) is not None:
                    library.malloc_trim(ctypes.c_size_t(0))
