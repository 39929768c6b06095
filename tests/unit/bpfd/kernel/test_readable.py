# SPDX-License-Identifier: Apache-2.0
"""Names that are refused within the kernel's file systems; tests/kernel tries the rest."""

from __future__ import annotations

import os

import pytest

from bpfd.errors import InvalidArgument, PermissionMissing
from bpfd.kernel import readable
from bpfd.kernel.mounts import MountPoint
from bpfd.kernel.readable import PROC, SYSFS, TRACEFS, Place

TOPS = {PROC: "/proc", SYSFS: "/sys", TRACEFS: "/sys/kernel/tracing"}


def place(file_system: int, path: str, root: str = "/") -> Place:
    mount = MountPoint("x", TOPS[file_system], False, root, 1)
    status = os.stat("/proc/version")
    return Place(-1, file_system, TOPS[file_system] + path, status, mount)


@pytest.mark.parametrize(
    ("file_system", "path"),
    [
        (PROC, "/version"),
        (PROC, "/1/maps"),
        (PROC, "/12/task/13/stat"),
        (PROC, "/12/fdinfo/3"),
        (PROC, "/kallsyms"),
        (PROC, "/sys/kernel/osrelease"),
        (PROC, "/memory-of-something"),
        (SYSFS, "/kernel/btf/vmlinux"),
        (SYSFS, "/class/net/lo/address"),
        (TRACEFS, "/events/sched/sched_switch/format"),
        (TRACEFS, "/trace"),
    ],
)
def test_what_may_be_read(file_system: int, path: str) -> None:
    readable.check_readable(place(file_system, path), path)


@pytest.mark.parametrize(
    ("file_system", "path"),
    [
        (PROC, "/1/mem"),
        (PROC, "/1/environ"),
        (PROC, "/1/auxv"),
        (PROC, "/1/pagemap"),
        (PROC, "/12/task/13/environ"),
        (PROC, "/12/task/13/mem"),
        (PROC, "/kcore"),
        (PROC, "/keys"),
        (PROC, "/kpageflags"),
        (PROC, "/bus/pci/00/01.0"),
        (PROC, "/sys/net/ipv4/tcp_fastopen_key"),
        (PROC, "/sys/net/ipv6/conf/eth0/stable_secret"),
        (SYSFS, "/devices/pci0000:00/0000:00:01.0/resource0"),
        (SYSFS, "/devices/pci0000:00/0000:00:01.0/resource0_wc"),
        (SYSFS, "/devices/pci0000:00/0000:00:01.0/config"),
        (SYSFS, "/firmware/devicetree/base/chosen/rng-seed"),
        (TRACEFS, "/instances/a/free_buffer"),
    ],
)
def test_what_may_not(file_system: int, path: str) -> None:
    with pytest.raises(PermissionMissing, match="refused"):
        readable.check_readable(place(file_system, path), path)


@pytest.mark.parametrize(
    "path", ["/trace_pipe", "/instances/a/trace_pipe", "/per_cpu/cpu0/trace_pipe_raw"]
)
def test_pipes_are_for_events(path: str) -> None:
    with pytest.raises(InvalidArgument, match="TracePipe"):
        readable.check_readable(place(TRACEFS, path), path)


def test_a_part_of_procfs_mounted_elsewhere_is_not_proc() -> None:
    assert not place(PROC, "/anything", root="/1").is_kernel
    assert place(PROC, "/anything").is_kernel


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/..", "/a\0b", "/" + "x" * 4095])
def test_paths_that_are_refused_unopened(path: str) -> None:
    with pytest.raises(InvalidArgument, match="path"), readable.opened(path):
        pass


def configuration(
    path: str, mode: int = 0o100644, owner: int = 0, mounted: bool = True
) -> Place:
    status = os.stat_result((mode, 1, 1, 1, owner, 0, 10, 0, 0, 0))
    mount = MountPoint("ext4", "/", False, "/", 1) if mounted else None
    return Place(-1, 0xEF53, path, status, mount)


@pytest.mark.parametrize("pattern", readable.CONFIGURATIONS)
def test_the_running_kernels_configuration(pattern: str) -> None:
    path = pattern.format(os.uname().release)
    readable.check_readable(configuration(path), path)


@pytest.mark.parametrize(
    "place",
    [
        configuration("/boot/config-of-another-kernel"),
        configuration(f"/boot/config-{os.uname().release}.old"),
        configuration(f"/boot/config-{os.uname().release}", mode=0o100600),
        configuration(f"/boot/config-{os.uname().release}", owner=1000),
        configuration(f"/boot/config-{os.uname().release}", mounted=False),
    ],
)
def test_what_is_no_configuration_of_it(place: Place) -> None:
    with pytest.raises(PermissionMissing):
        readable.check_readable(place, place.path)
