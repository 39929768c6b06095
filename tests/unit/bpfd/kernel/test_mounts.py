# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfd.kernel.mounts import MountPoint, mounts, parse_mountinfo

INFO = """\
22 60 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
24 60 0:22 / /sys ro,nosuid shared:2 - sysfs sysfs rw
60 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
70 24 0:30 / /sys/fs/bpf rw - bpf none rw,mode=700
71 60 0:30 /inner /mnt/a\\040b\\134 rw master:3 propagate_from:2 - bpf none rw
broken line
"""


def test_mountinfo() -> None:
    assert parse_mountinfo(INFO) == [
        MountPoint("proc", "/proc", False, "/", 22),
        MountPoint("sysfs", "/sys", True, "/", 24),
        MountPoint("ext4", "/", False, "/", 60),
        MountPoint("bpf", "/sys/fs/bpf", False, "/", 70),
        MountPoint("bpf", "/mnt/a b\\", False, "/inner", 71),
    ]


def test_only_file_systems_of_the_kernel_are_reported() -> None:
    found = mounts()
    assert "/proc" in [mount.path for mount in found]
    assert {mount.type for mount in found} <= {
        *("bpf", "tracefs", "debugfs", "cgroup2", "proc", "sysfs")
    }
