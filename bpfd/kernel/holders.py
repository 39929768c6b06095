# SPDX-License-Identifier: Apache-2.0
"""Who keeps a program or link of the kernel alive: processes by their fds, and pins.

Both are searches through all processes and all of bpffs, for messages and on request.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel import mounts
from bpfd.kernel.host import read_text
from bpfd.kernel.syscall import obj_get

PROGRAM, LINK, MAP = "prog_id", "link_id", "map_id"
"""Keys of /proc/PID/fdinfo of the three kinds."""

# The kernel names a link's first fd otherwise than those it makes later.
_FILES = {
    "anon_inode:bpf-prog": PROGRAM,
    "anon_inode:bpf_link": LINK,
    "anon_inode:bpf-link": LINK,
    "anon_inode:bpf-map": MAP,
}


@dataclass(frozen=True)
class Holder:
    """A process with an fd of the program, link or map."""

    pid: int
    comm: str


def processes(kind: str, number: int) -> list[Holder]:
    """Processes that hold an fd of the program, link or map with this id."""
    return all_processes(kind).get(number, [])


def all_processes(kind: str) -> dict[int, list[Holder]]:
    """Processes by the id of what they hold an fd of, each once."""
    found: dict[int, list[Holder]] = {}
    for pid, fds in _bpf_fds(kind):
        for number in {_id(f"/proc/{pid}/fdinfo/{fd}", kind) for fd in fds} - {0}:
            found.setdefault(number, []).append(Holder(pid, _comm(pid)))
    return found


def pins(kind: str, number: int) -> list[str]:
    """Paths in bpffs under which the program, link or map with this id is pinned."""
    return all_pins(kind).get(number, [])


def all_pins(kind: str) -> dict[int, list[str]]:
    """Paths in every bpffs by the id of what is pinned there."""
    found: dict[int, list[str]] = {}
    for top in _file_systems():
        for folder, _, files in os.walk(top):
            for name in files:
                path = f"{folder}/{name}"
                what, number = _pinned(path)
                if what == kind:
                    found.setdefault(number, []).append(path)
    return {number: sorted(paths) for number, paths in found.items()}


def _file_systems() -> list[str]:
    """Where every bpffs is mounted; one that is mounted twice counts once."""
    tops: dict[int, str] = {}
    for each in mounts.mounts():
        if each.type == "bpf":
            with contextlib.suppress(OSError):
                tops.setdefault(os.stat(each.path).st_dev, each.path)
    return list(tops.values())


def _bpf_fds(kind: str) -> Iterator[tuple[int, list[str]]]:
    """Pids with those of their fds that are of the kind, by what the fd's link says."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        fds = []
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue  # ended meanwhile, or not ours to look at
        for fd in names:
            with contextlib.suppress(OSError):
                if _FILES.get(os.readlink(f"/proc/{pid}/fd/{fd}")) == kind:
                    fds.append(fd)
        if fds:
            yield int(pid), fds


def _id(path: str, kind: str) -> int:
    try:
        text = read_text(path, 8192)
    except OSError:
        return 0
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == kind:
            return int(value)
    return 0


def _pinned(path: str) -> tuple[str, int]:
    try:
        fd = obj_get(path)
    except OSError:
        return "", 0
    try:
        kind = _FILES.get(os.readlink(f"/proc/self/fd/{fd}"), "")
        return kind, _id(f"/proc/self/fdinfo/{fd}", kind) if kind else 0
    finally:
        os.close(fd)


def _comm(pid: int) -> str:
    try:
        return read_text(f"/proc/{pid}/comm", 64).strip()
    except OSError:
        return ""
