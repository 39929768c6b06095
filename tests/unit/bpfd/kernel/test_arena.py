# SPDX-License-Identifier: Apache-2.0
"""Memory of an arena, mapped for a moment."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bpfd.kernel import arena, syscall
from bpfd.kernel.constants import BPF_F_MMAPABLE, MapType

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PAGES = 3
SEGV_ON_FAULT = 1 << 17

Make = Callable[..., int]


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:

        def arena_of(extra: int = arena.ADDRESS, flags: int = 0) -> int:
            flags |= BPF_F_MMAPABLE
            try:
                fd = syscall.map_create(
                    MapType.ARENA, 0, 0, PAGES, flags=flags, map_extra=extra
                )
            except OSError as error:
                pytest.skip(f"no arenas here (since 6.9): {error.strerror}")
            stack.callback(os.close, fd)
            return fd

        yield arena_of


def test_what_is_written_is_read(make: Make) -> None:
    fd = make()
    edge = mmap.PAGESIZE - 2
    arena.write(fd, arena.ADDRESS, PAGES, edge, b"data")
    assert arena.read(fd, arena.ADDRESS, PAGES, edge - 1, 6) == b"\0data\0"
    other = make()
    assert arena.read(other, arena.ADDRESS, PAGES, edge, 4) == bytes(4)


def test_nothing_stays_mapped(make: Make) -> None:
    arena.read(make(), arena.ADDRESS, PAGES, 0, 1)
    with open("/proc/self/maps") as maps:
        assert f"\n{arena.ADDRESS:x}-" not in "\n" + maps.read()


def test_page_that_is_not_there_is_an_error(make: Make) -> None:
    with pytest.raises(OSError, match="Bad address") as raised:
        arena.read(make(flags=SEGV_ON_FAULT), arena.ADDRESS, PAGES, 0, 8)
    assert raised.value.errno == errno.EFAULT


def test_address_that_is_not_known_is_busy(make: Make) -> None:
    fd = make(extra=0)
    arena.write(fd, 0, PAGES, 0, b"x")
    # The kernel chose an address then, and keeps to it.
    with pytest.raises(OSError, match=r"busy|Invalid") as raised:
        arena.read(fd, arena.ADDRESS, PAGES, 0, 1)
    assert raised.value.errno in (errno.EBUSY, errno.EINVAL)
