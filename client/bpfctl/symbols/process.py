# SPDX-License-Identifier: Apache-2.0
"""What a process mapped to run, as it was when one looked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import target_pb2

DELETED = " (deleted)"
"""Behind the path in /proc/PID/maps when nothing leads to the file any more."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Executable memory; virtual addresses, the end is exclusive."""

    start: int
    end: int
    file_offset: int = 0
    path: str = ""
    """As the process sees it; "[vdso]"; empty: anonymous."""
    inode: int = 0
    build_id: bytes = b""

    @property
    def is_file(self) -> bool:
        """Whether there is a file behind it."""
        return self.inode != 0 or self.path.startswith("/")


@dataclass(frozen=True)
class Process:
    """A process and its executable mappings; made early, it outlives the process."""

    pid: int
    comm: str = ""
    mappings: tuple[Mapping, ...] = ()
    """In the order of their addresses."""
    mount_namespace: int = 0
    started_ns: int = 0
    """Since 1970; tells processes apart that had one pid after another."""

    @cached_property
    def _starts(self) -> list[int]:
        return [mapping.start for mapping in self.mappings]

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds an address; None: nothing executable is there."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self.mappings[at].end:
            return None
        return self.mappings[at]

    @classmethod
    def of(cls, message: target_pb2.Process) -> Process:
        """What the daemon tells."""
        return cls(
            message.pid,
            message.comm,
            tuple(
                sorted(
                    (
                        Mapping(
                            each.start,
                            each.end,
                            each.file_offset,
                            each.path,
                            each.inode,
                            each.build_id,
                        )
                        for each in message.mappings
                    ),
                    key=lambda each: each.start,
                )
            ),
            message.mount_namespace,
            message.started_at.ToNanoseconds(),
        )


def snapshot(target: Target, pids: Iterable[int] = ()) -> dict[int, Process]:
    """Processes of a target with their mappings; `pids` empty: all. Those that ended
    meanwhile are left out."""
    from bpfctl.errors import NotFound
    from bpfd.v1 import target_pb2

    wanted = list(pids)
    rpc = target.rpc
    found: dict[int, Process] = {}
    # The daemon refuses all when one of those asked for has ended: each is asked for alone.
    for some in [[pid] for pid in wanted] or [[]]:
        request = target_pb2.ListProcessesRequest(pids=some, mappings=True)
        try:
            with rpc.stream(
                rpc.target.ListProcesses, request, "Target.ListProcesses"
            ) as stream:
                for chunk in stream:
                    for message in chunk.processes:
                        found[message.pid] = Process.of(message)
        except NotFound:
            continue
    return found
