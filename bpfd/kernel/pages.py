# SPDX-License-Identifier: Apache-2.0
"""Memory of the process that the kernel can read from files again."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator

_DONTNEED = 4  # MADV_DONTNEED of asm-generic/mman-common.h

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r-[x-]p) \S+ \S+ [1-9][0-9]* +(/.*)")
_UNUSUAL = ("/dev/", "/proc/", "/sys/", "/memfd:")


def release_file_pages() -> None:
    """Takes code and constants out of this process's memory until they are used again.

    A start touches most of the interpreter's and gRPC's code once, and the kernel maps what
    lies around each touched page as well (`fault_around_bytes`): that is half of the
    daemon's memory, of which serving needs a small part. The files' pages stay in the page
    cache, where the kernel may now take them when memory is short. Does nothing where the
    kernel does not tell what is in memory (no CONFIG_PROC_PAGE_MONITOR).
    """
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in unchanged(lines):
        madvise(start, end - start, _DONTNEED)


def unchanged(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Start and end of the mappings in a text of /proc/PID/smaps that are all as in a file.

    Private mappings of regular files that are read-only and have no page of their own:
    what the loader relocated, and where a uprobe stands, has one.
    """
    place: tuple[int, int] | None = None
    for line in lines:
        if head := _HEAD.match(line):
            start, end, _, path = head.groups()
            place = None if path.startswith(_UNUSUAL) else (int(start, 16), int(end, 16))
        elif line[:1].isdigit() or line[:1] in "abcdef":
            place = None
        elif place and line.startswith("Anonymous:"):
            if int(line.split()[1]) == 0:
                yield place
            place = None
