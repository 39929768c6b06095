# SPDX-License-Identifier: Apache-2.0
"""Package biolatency: a known number of requests to a loop device of the test."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.histogram_package import HistogramPackage
from tests.kernel.loaded_package import types_are_known

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading tracing programs needs root"),
    pytest.mark.skipif(not types_are_known("biolatency"), reason="needs kernel BTF"),
    pytest.mark.skipif(
        not Path("/dev/loop-control").exists(), reason="this kernel has no loop devices"
    ),
]

# include/uapi/linux/loop.h
LOOP_CTL_GET_FREE, LOOP_SET_FD, LOOP_CLR_FD = 0x4C82, 0x4C00, 0x4C01
BLOCK = 4096
BLOCKS = 256
SECONDS = 30.0


class Disk:
    """A loop device over a file, opened past the page cache."""

    def __init__(self, path: str) -> None:
        self.name = path.rpartition("/")[2]
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        number = os.stat(path).st_rdev
        self.device = os.major(number) << 20 | os.minor(number)
        self._buffer = mmap.mmap(-1, BLOCK)

    def read(self, count: int) -> None:
        for index in range(count):
            assert os.preadv(self.fd, [self._buffer], index % BLOCKS * BLOCK) == BLOCK

    def write(self, count: int) -> None:
        for index in range(count):
            assert os.pwritev(self.fd, [self._buffer], index % BLOCKS * BLOCK) == BLOCK


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    backing = tmp_path_factory.mktemp("disk") / "image"
    backing.write_bytes(bytes(BLOCK * BLOCKS))
    file = os.open(backing, os.O_RDWR)
    path = _bind(file)
    found = Disk(path)
    try:
        yield found
    finally:
        fcntl.ioctl(found.fd, LOOP_CLR_FD)
        os.close(found.fd)
        os.close(file)


def _bind(file: int) -> str:
    """A free loop device, which someone else may take meanwhile."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        for _ in range(32):
            path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR)
            try:
                fcntl.ioctl(device, LOOP_SET_FD, file)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            else:
                return path
            finally:
                os.close(device)
    finally:
        os.close(control)
    raise AssertionError("no loop device stays free")


def counted(package: HistogramPackage, disk: Disk, wanted: int) -> dict[str, int]:
    """Values by operation, waited for: a request completes before it is counted."""
    until = time.monotonic() + SECONDS
    while True:
        found = package.histograms("latencies", "disk", "operation")
        assert {each.labels["disk"] for each in found} <= {disk.name}
        counts = {each.labels["operation"]: each.count for each in found}
        if sum(counts.values()) >= wanted or time.monotonic() > until:
            return counts
        time.sleep(0.01)


def test_counts_each_request_by_operation(disk: Disk) -> None:
    with closing(HistogramPackage("biolatency", {"device": str(disk.device)})) as package:
        begin = time.monotonic_ns()
        disk.read(200)
        disk.write(100)
        passed = (time.monotonic_ns() - begin) // 1000
        assert counted(package, disk, 300) == {"READ": 200, "WRITE": 100}
        total = sum(each.sum or 0 for each in package.histograms("latencies"))
        assert 0 < total <= passed
        assert package.missed() == 0
        assert package.entries("started") == 0


def test_tells_flags_apart_and_flushes(disk: Disk) -> None:
    settings = {"device": str(disk.device), "by_flags": "true"}
    with closing(HistogramPackage("biolatency", settings)) as package:
        disk.read(20)
        disk.write(30)
        os.fsync(disk.fd)
        counts = counted(package, disk, 51)
        found = {
            (each.labels["operation"], each.labels["flags"]): each.count
            for each in package.histograms("latencies", "operation", "flags")
        }
    assert counts == {"READ": 20, "WRITE": 30, "FLUSH": 1}
    # REQ_OP_WRITE | REQ_SYNC | REQ_IDLE, dio_bio_write_op() of block/fops.c.
    assert found[("WRITE", "SYNC")] == 30
    # blkdev_issue_flush() of block/blk-flush.c.
    assert found[("FLUSH", "PREFLUSH")] == 1


def test_slots_of_one_width_and_the_queue(disk: Disk) -> None:
    """Ends where a slot has no end, and adds up to the same."""
    settings = {"device": str(disk.device), "step": "100000000", "queued": "true"}
    with closing(HistogramPackage("biolatency", settings)) as package:
        disk.read(50)
        assert counted(package, disk, 50) == {"READ": 50}
        (histogram,) = package.histograms("latencies")
    # Each took less than 100 s.
    assert histogram.slots[0] == 50
    assert histogram.end(0) == 100_000_000


def test_other_disks_are_left_out(disk: Disk) -> None:
    with closing(HistogramPackage("biolatency", {"device": str(1 << 19)})) as package:
        disk.read(10)
        assert package.histograms("latencies") == []
        assert package.entries("started") == 0


def test_requests_without_room_are_counted(disk: Disk) -> None:
    """One kind of request has room: reads fill it, writes are missed."""
    settings = {"device": str(disk.device), "kinds": "1"}
    with closing(HistogramPackage("biolatency", settings)) as package:
        disk.read(10)
        assert counted(package, disk, 10) == {"READ": 10}
        disk.write(7)
        until = time.monotonic() + SECONDS
        while package.missed() < 7 and time.monotonic() < until:
            time.sleep(0.01)
        assert package.missed() == 7
        assert counted(package, disk, 10) == {"READ": 10}
