# SPDX-License-Identifier: Apache-2.0
"""Memory that the daemon may still take: of the machine, and of its control groups."""

from __future__ import annotations

import os

from bpfd.kernel.host import read_text

_NO_LIMIT = 1 << 60


def kept_back(total: int) -> int:
    """Bytes that stay free for everybody else. Pure."""
    return max(4 << 20, total // 32)


def of_machine(meminfo: str) -> tuple[int, int]:
    """(bytes in all, bytes that may be taken without swapping), of /proc/meminfo. Pure."""
    found = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if rest.strip():
            found[name] = int(rest.split()[0]) << 10
    return found.get("MemTotal", 0), found.get("MemAvailable", found.get("MemFree", 0))


def free() -> int:
    """Bytes that maps may take, after what stays free; at least 0.

    Raises OSError where /proc does not tell.
    """
    total, available = of_machine(read_text("/proc/meminfo"))
    return max(0, min(available, _of_groups()) - kept_back(total))


def _of_groups() -> int:
    """What the memory controllers above this process leave; files in memory can be dropped."""
    least = _NO_LIMIT
    for line in read_text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots, names = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], _VERSION_2
        elif "memory" in controllers.split(","):
            roots, names = ["/sys/fs/cgroup/memory"], _VERSION_1
        else:
            continue
        for root in roots:
            while True:
                least = min(least, _left(f"{root}{path.rstrip('/')}", *names))
                if path in ("", "/"):
                    break
                path = os.path.dirname(path)
    return least


_VERSION_2 = ("memory.max", "memory.current", "file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "cache")


def _left(folder: str, limit: str, usage: str, files: str) -> int:
    try:
        most = read_text(f"{folder}/{limit}", 64).strip()
        if not most.isdigit() or int(most) >= _NO_LIMIT:
            return _NO_LIMIT
        used = int(read_text(f"{folder}/{usage}", 64))
        statistics = dict(
            line.split() for line in read_text(f"{folder}/memory.stat").splitlines() if line
        )
        return int(most) - used + int(statistics.get(files, 0))
    except (OSError, ValueError):
        return _NO_LIMIT
