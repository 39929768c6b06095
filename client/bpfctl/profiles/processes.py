# SPDX-License-Identifier: Apache-2.0
"""Mappings of the processes that were sampled, taken while they live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.symbols.process import Process

if TYPE_CHECKING:
    from bpfctl.target import Target

PATIENCE = 3
"""Looks at a process whose mappings did not change although an address is in none: its
code is made at run time, and stands in no file."""

AT_ONCE = 256
"""Processes asked for in one call."""


@dataclass
class _Seen:
    snapshots: list[Process] = field(default_factory=list)
    vain: int = 0


class Processes:
    """Looks at processes when they are sampled first, and when an address is not in what
    was seen of them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen: dict[int, _Seen] = {}
        self.told: list[Callable[[Process], None]] = []
        """Called with each process that is new, or has mapped more."""

    def look(self, sampled: Mapping[int, Collection[int]]) -> None:
        """Takes what is new; `sampled` are addresses in user space by process."""
        wanted = [pid for pid, addresses in sampled.items() if self._wants(pid, addresses)]
        for at in range(0, len(wanted), AT_ONCE):
            for process in self._fetch(wanted[at : at + AT_ONCE]):
                # One that ends has none any more: what was seen of it before stays.
                if process.mappings:
                    self.take(process)

    def now(self, pids: Iterable[int]) -> list[Process]:
        """Looks at processes before they are sampled; gives those that have mappings."""
        found = [each for each in self._fetch(list(pids)) if each.mappings]
        for process in found:
            self.take(process)
        return found

    def take(self, process: Process) -> None:
        """Keeps what was seen of a process, unless it is as before."""
        seen = self._seen.setdefault(process.pid, _Seen())
        if seen.snapshots and _same(seen.snapshots[-1], process):
            seen.vain += 1
        else:
            seen.snapshots.append(process)
            seen.vain = 0
            for tell in self.told:
                tell(process)

    def _wants(self, pid: int, addresses: Iterable[int]) -> bool:
        seen = self._seen.get(pid)
        if seen is None:
            return True
        find = seen.snapshots[-1].find
        return seen.vain < PATIENCE and any(find(address) is None for address in addresses)

    def _fetch(self, pids: list[int]) -> Iterable[Process]:
        from bpfd.v1 import target_pb2

        rpc = self._target.rpc
        request = target_pb2.ListProcessesRequest(pids=pids, mappings=True, skip_ended=True)
        with rpc.stream(rpc.target.ListProcesses, request, "Target.ListProcesses") as stream:
            for chunk in stream:
                yield from map(Process.of, chunk.processes)

    def place(self, pid: int, addresses: Collection[int]) -> int:
        """Which of a process's snapshots fits a stack: the last one, or an earlier one that
        has more of its addresses; -1: nothing was seen of the process."""
        seen = self._seen.get(pid)
        if seen is None:
            return -1
        best = len(seen.snapshots) - 1
        if best and any(seen.snapshots[best].find(each) is None for each in addresses):
            best = max(
                range(len(seen.snapshots)),
                key=lambda at: (_held(seen.snapshots[at], addresses), at),
            )
        return best

    def snapshot(self, pid: int, place: int) -> Process | None:
        """What `place` gave; None for -1."""
        return self._seen[pid].snapshots[place] if place >= 0 else None


def _same(one: Process, other: Process) -> bool:
    """Whether both are of one process that mapped nothing meanwhile. Its start comes out a
    little different each time, as the daemon adds it to the time since boot."""
    return one.mappings == other.mappings and abs(one.started_ns - other.started_ns) < 10**8


def _held(process: Process, addresses: Iterable[int]) -> int:
    return sum(process.find(address) is not None for address in addresses)
