# SPDX-License-Identifier: Apache-2.0
"""Proves that nothing is left: what is there before and after, compared.

The machine may do other BPF work meanwhile, so a new program, map or link that a process
of someone else holds, or that is pinned outside of this run's folder under a name that the
run's packages do not have, is not counted. Everything else that is new is.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bpfd.kernel import holders, info, syscall
from bpfd.kernel.constants import Cmd

_KINDS = {
    "program": (Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID, holders.PROGRAM),
    "map": (Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID, holders.MAP),
    "link": (Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID, holders.LINK),
}
_SECONDS = 5.0
"""The kernel frees programs and maps a grace period after their last user left."""


def look() -> set[tuple[str, int]]:
    """Kind and id of every program, map and link of the kernel."""
    return {
        (kind, number) for kind, (ids, _, _) in _KINDS.items() for number in syscall.ids(ids)
    }


def name_of(kind: str, number: int) -> str:
    """The kernel's name of a program or map; empty: none, or it is gone."""
    with contextlib.suppress(OSError):
        fd = syscall.fd_by_id(_KINDS[kind][1], number)
        try:
            if kind == "program":
                return str(info.prog_info(fd).name.decode())
            if kind == "map":
                return str(info.map_info(fd).name.decode())
        finally:
            os.close(fd)
    return ""


@dataclass
class Search:
    """What to look for. `before` was taken at the start of the run."""

    before: set[tuple[str, int]]
    seen: Collection[tuple[str, int]]
    """Kinds and ids that were this run's."""
    folder: Path
    """Everything of the run's files, sockets and temporary folders."""
    bpffs: Path
    """Where its pins were."""

    def objects(self) -> list[str]:
        """Programs, maps and links of the run that are still in the kernel; waits for those
        that are being freed."""
        until = time.monotonic() + _SECONDS
        while True:
            found = self._objects()
            if not found or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def _objects(self) -> list[str]:
        found = []
        for kind, number in sorted(look() - self.before):
            held = holders.processes(_KINDS[kind][2], number)
            pinned = holders.pins(_KINDS[kind][2], number)
            foreign = bool(held or pinned) and not any(
                path.startswith(f"{self.bpffs}/") for path in pinned
            )
            if (kind, number) in self.seen or not foreign:
                found.append(f"{kind} {number} {name_of(kind, number)}".rstrip())
        return found

    def pins(self) -> list[str]:
        """Files in the run's folder of the bpffs, and pins elsewhere of what was its own."""
        found = [str(path) for path in self.bpffs.rglob("*") if not path.is_dir()]
        for kind, (_, _, key) in _KINDS.items():
            for number, paths in holders.all_pins(key).items():
                if (kind, number) in self.seen:
                    found += [path for path in paths if path not in found]
        return found

    def processes(self) -> list[str]:
        """Processes that were started with a path of the run in their command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                command = Path("/proc", pid, "cmdline").read_bytes()
                if os.fsencode(self.folder) in command and int(pid) != os.getpid():
                    found.append(f"process {pid} {command.split(bytes(1))[0].decode()}")
        return found

    def sockets(self) -> list[str]:
        """Unix sockets of the run, listening or as files."""
        lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
        found = {line.split()[-1] for line in lines if str(self.folder) in line}
        found |= {str(path) for path in self.folder.rglob("*") if path.is_socket()}
        return sorted(found)

    def temporary_files(self) -> list[str]:
        """What was put into the run's own TMPDIR and stayed."""
        return [str(path) for path in (self.folder / "tmp").rglob("*")]
