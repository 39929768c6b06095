# SPDX-License-Identifier: Apache-2.0
"""Who keeps a program or link of the kernel alive: processes by their fds, and pins.

Both are searches through all processes and all of bpffs, for messages and on request.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from bpfd.kernel import mounts
from bpfd.kernel.host import read_text
from bpfd.kernel.syscall import obj_get

PROGRAM, LINK, MAP = "prog_id", "link_id", "map_id"
"""Keys of /proc/PID/fdinfo of the three kinds."""
KINDS = (PROGRAM, LINK, MAP)
EVENT = "perf_event"

# The kernel names a link's first fd otherwise than those it makes later.
_FILES = {
    "anon_inode:bpf-prog": PROGRAM,
    "anon_inode:bpf_link": LINK,
    "anon_inode:bpf-link": LINK,
    "anon_inode:bpf-map": MAP,
    "anon_inode:[perf_event]": EVENT,
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
    return opened((kind,)).holders(kind)


@dataclass
class Opened:
    """What processes have open of BPF, from one walk through /proc."""

    fds: dict[str, dict[int, list[tuple[int, int]]]]
    """By kind and id: (pid, fd) of each descriptor."""
    events: list[tuple[int, int]] = field(default_factory=list)
    """(pid, fd) of each perf event."""
    namespaces: dict[int, str] = field(default_factory=dict)
    """Network namespaces by inode, and a path of a descriptor of theirs."""
    names: dict[int, str] = field(default_factory=dict)
    """Command names of the processes that were met."""

    def holders(self, kind: str) -> dict[int, list[Holder]]:
        """Processes by the id of what they hold an fd of, each once."""
        return {
            number: [Holder(pid, self.names[pid]) for pid in dict(fds)]
            for number, fds in self.fds[kind].items()
        }


def opened(kinds: Collection[str] = (*KINDS, EVENT)) -> Opened:
    """One walk through the descriptors of all processes, for these kinds.

    A process that ended meanwhile, or is not ours to look at, is left out.
    """
    found = Opened({kind: {} for kind in KINDS})
    for pid in sorted(int(each) for each in os.listdir("/proc") if each.isdigit()):
        with contextlib.suppress(OSError):
            _look_into(pid, kinds, found)
    return found


def _look_into(pid: int, kinds: Collection[str], found: Opened) -> None:
    folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(folder):
            try:
                target = os.readlink(name, dir_fd=folder)
            except OSError:
                continue
            kind = _FILES.get(target)
            if kind is not None and kind in kinds:
                _note(pid, name, kind, found)
            elif target.startswith("net:["):
                found.namespaces.setdefault(int(target[5:-1]), f"/proc/{pid}/fd/{name}")
    finally:
        os.close(folder)


def _note(pid: int, name: str, kind: str, found: Opened) -> None:
    if kind == EVENT:
        found.events.append((pid, int(name)))
    elif number := _id(f"/proc/{pid}/fdinfo/{name}", kind):
        found.fds[kind].setdefault(number, []).append((pid, int(name)))
    else:
        return
    if pid not in found.names:
        found.names[pid] = comm(pid)


def pins(kind: str, number: int) -> list[str]:
    """Paths in bpffs under which the program, link or map with this id is pinned."""
    return all_pins(kind).get(number, [])


def all_pins(kind: str) -> dict[int, list[str]]:
    """Paths in every bpffs by the id of what is pinned there."""
    return every_pin()[kind]


def every_pin() -> dict[str, dict[int, list[str]]]:
    """Paths in every bpffs by kind and id of what is pinned there, of one walk."""
    found: dict[str, dict[int, list[str]]] = {kind: {} for kind in KINDS}
    for top in _file_systems():
        for folder, _, files in os.walk(top):
            for name in files:
                path = f"{folder}/{name}"
                kind, number = _pinned(path)
                if kind in found:
                    found[kind].setdefault(number, []).append(path)
    for paths in found.values():
        for each in paths.values():
            each.sort()
    return found


def _file_systems() -> list[str]:
    """Where every bpffs is mounted; one that is mounted twice counts once."""
    tops: dict[int, str] = {}
    for each in mounts.mounts():
        if each.type == "bpf":
            with contextlib.suppress(OSError):
                tops.setdefault(os.stat(each.path).st_dev, each.path)
    return list(tops.values())


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


def comm(pid: int) -> str:
    """A process' command name; "" when it has ended."""
    try:
        return read_text(f"/proc/{pid}/comm", 64).strip()
    except OSError:
        return ""
