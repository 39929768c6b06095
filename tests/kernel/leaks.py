# SPDX-License-Identifier: Apache-2.0
"""Programs, maps and links that are there: in the whole kernel, or held by our processes."""

from __future__ import annotations

import contextlib
import os

from bpfd.kernel import info, syscall
from bpfd.kernel.constants import Cmd

_IDS = {
    "program": Cmd.PROG_GET_NEXT_ID,
    "map": Cmd.MAP_GET_NEXT_ID,
    "link": Cmd.LINK_GET_NEXT_ID,
}
_FDINFO = {"prog_id": "program", "map_id": "map", "link_id": "link"}


def look(*, everything: bool) -> set[tuple[str, int]]:
    """Kinds and ids."""
    if everything:
        return {(kind, number) for kind, cmd in _IDS.items() for number in syscall.ids(cmd)}
    return {held for pid in _family() for held in _held(pid)}


def named(names: set[str]) -> set[tuple[str, int]]:
    """Programs and maps of these names, whoever holds them."""
    found = set()
    for kind, by_id in (("program", Cmd.PROG_GET_FD_BY_ID), ("map", Cmd.MAP_GET_FD_BY_ID)):
        for number in syscall.ids(_IDS[kind]) if names else ():
            with contextlib.suppress(FileNotFoundError):
                fd = syscall.fd_by_id(by_id, number)
                try:
                    about = info.prog_info(fd) if kind == "program" else info.map_info(fd)
                finally:
                    os.close(fd)
                if about.name.decode() in names:
                    found.add((kind, number))
    return found


def _family() -> list[int]:
    """This process and its children, of all generations."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
    family, size = {os.getpid()}, 0
    while size != len(family):
        size = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return sorted(family)


def _held(pid: int) -> set[tuple[str, int]]:
    found = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("anon_inode:bpf"):
                    continue
                found |= _identity(pid, fd)
    return found


def _identity(pid: int, fd: str) -> set[tuple[str, int]]:
    with open(f"/proc/{pid}/fdinfo/{fd}") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    # A link's fdinfo names its program too; the link comes first in importance.
    for key in ("link_id", "map_id", "prog_id"):
        if key in fields:
            return {(_FDINFO[key], int(fields[key]))}
    return set()
