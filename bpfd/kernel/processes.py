# SPDX-License-Identifier: Apache-2.0
"""Processes of the target, from /proc."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel.build_id import build_id_of
from bpfd.kernel.host import read_bytes, read_text

_MAX_ARGUMENTS = 64 << 10
_MAX_MAPS = 64 << 20


@dataclass(frozen=True)
class Mapping:
    """Executable memory; addresses are virtual, the end is exclusive; inode 0: no file."""

    start: int
    end: int
    file_offset: int
    path: str
    inode: int
    build_id: bytes = b""


@dataclass(frozen=True)
class Process:
    """What /proc tells of a process; namespaces are inodes, 0 when they are hidden."""

    pid: int
    parent_pid: int
    uid: int
    comm: str
    arguments: list[str]
    executable: str
    # Since boot (CLOCK_BOOTTIME), nanoseconds.
    started_ns: int
    mount_namespace: int
    pid_namespace: int
    net_namespace: int
    cgroup: str


def pids() -> list[int]:
    """Every process, in order."""
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())


class NoThread(Exception):
    """The kernel has no descriptors of threads."""


def open_task(tid: int) -> int:
    """A pidfd of a process, or of a thread where the kernel has those.

    PIDFD_THREAD is of Linux 6.9 (64bef697d33b) and has the value of O_EXCL. Raises
    ProcessLookupError, NoThread, OSError.
    """
    try:
        return os.pidfd_open(tid)
    except OSError as error:
        # Not the first thread of its process: EINVAL, ENOENT since 6.9.
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    try:
        return os.pidfd_open(tid, os.O_EXCL)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise NoThread from None
        raise


def tasks() -> Iterator[tuple[int, str]]:
    """(id, name) of every thread."""
    for pid in pids():
        try:
            threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
        except OSError:
            continue
        for tid in threads:
            try:
                yield tid, read_text(f"/proc/{pid}/task/{tid}/comm", 64).rstrip("\n")
            except OSError:
                continue


def process(pid: int) -> Process | None:
    """What is known of a process; None: there is none."""
    folder = f"/proc/{pid}"
    try:
        stat = read_text(f"{folder}/stat", 4096)
        uid = os.stat(folder).st_uid
        arguments = read_bytes(f"{folder}/cmdline", _MAX_ARGUMENTS)
        cgroups = read_text(f"{folder}/cgroup", 65536)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character.
    comm = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return Process(
        pid=pid,
        parent_pid=int(fields[1]),
        uid=uid,
        comm=comm,
        arguments=os.fsdecode(arguments.removesuffix(b"\0")).split("\0") if arguments else [],
        executable=_link(f"{folder}/exe"),
        started_ns=int(fields[19]) * 1_000_000_000 // ticks,
        mount_namespace=_inode(f"{folder}/ns/mnt"),
        pid_namespace=_inode(f"{folder}/ns/pid"),
        net_namespace=_inode(f"{folder}/ns/net"),
        cgroup=_unified(cgroups),
    )


def users(pid: int) -> set[int]:
    """The real, effective, saved and file system user ids; none of one that has gone."""
    try:
        text = read_text(f"/proc/{pid}/status", 65536)
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("Uid:"):
            return set(map(int, line.split()[1:]))
    return set()


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _inode(path: str) -> int:
    text = _link(path)
    return int(text.partition("[")[2].rstrip("]")) if "[" in text else 0


def _unified(text: str) -> str:
    """The cgroup v2 of /proc/PID/cgroup, whose line begins with "0::"."""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def mappings(pid: int, known: dict[tuple[str, int], bytes]) -> list[Mapping]:
    """Executable memory; `known` keeps build ids between calls."""
    found = []
    for mapping, device in _executable(pid):
        key = (device, mapping.inode)
        if not mapping.inode:
            known[key] = b""
        elif key not in known:
            known[key] = build_id_of(map_file(pid, mapping))
        found.append(
            Mapping(
                mapping.start,
                mapping.end,
                mapping.file_offset,
                mapping.path,
                mapping.inode,
                known[key],
            )
        )
    return found


def map_file(pid: int, mapping: Mapping) -> str:
    """A path that leads to the file that is mapped, whatever stands under its name now."""
    return f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"


def executable_mappings(pid: int) -> Iterator[tuple[Mapping, str]]:
    """Executable mappings of files and their device as "MAJOR:MINOR" in hexadecimal.

    Nothing for a process that has gone or whose mappings are hidden.
    """
    return (each for each in _executable(pid) if each[0].inode)


def _executable(pid: int) -> Iterator[tuple[Mapping, str]]:
    try:
        text = read_text(f"/proc/{pid}/maps", _MAX_MAPS)
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) >= 5 and "x" in fields[1]:
            start, _, end = fields[0].partition("-")
            path = fields[5].replace("\\012", "\n") if len(fields) == 6 else ""
            mapping = Mapping(
                int(start, 16), int(end, 16), int(fields[2], 16), path, int(fields[4])
            )
            yield mapping, fields[3]
