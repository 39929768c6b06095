# SPDX-License-Identifier: Apache-2.0
"""Which of the mappings that were seen of a process a stack is read by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bpfctl.profiles.processes import PATIENCE, Processes
from bpfctl.symbols.process import Mapping, Process

from bpfd.v1 import target_pb2

OLD = Process(7, "sh", (Mapping(0x1000, 0x2000, path="/bin/sh", inode=1),), started_ns=10**18)
NEW = Process(7, "ls", (Mapping(0x5000, 0x6000, path="/bin/ls", inode=2),), started_ns=10**18)


class Daemon:
    """Answers ListProcesses with what lives."""

    def __init__(self) -> None:
        self.living: dict[int, Process] = {}
        self.asked: list[list[int]] = []

    @property
    def target(self) -> Any:
        return SimpleNamespace(
            rpc=SimpleNamespace(target=SimpleNamespace(ListProcesses=None), stream=self._stream)
        )

    def _stream(self, _: object, request: target_pb2.ListProcessesRequest, name: str) -> Any:
        assert name == "Target.ListProcesses"
        assert request.mappings
        assert request.skip_ended
        self.asked.append(list(request.pids))
        chunk = target_pb2.ListProcessesChunk()
        for pid in request.pids:
            if pid in self.living:
                process = self.living[pid]
                message = chunk.processes.add(pid=pid, comm=process.comm)
                message.started_at.FromNanoseconds(process.started_ns + len(self.asked))
                for each in process.mappings:
                    message.mappings.add(
                        start=each.start, end=each.end, path=each.path, inode=each.inode
                    )
        return _Stream([chunk])


class _Stream(list[Any]):
    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_process_is_looked_at_once() -> None:
    daemon = Daemon()
    daemon.living[7] = OLD
    processes = Processes(daemon.target)
    for _ in range(3):
        processes.look({7: {0x1234}})
    assert daemon.asked == [[7]]
    found = processes.snapshot(7, processes.place(7, [0x1234]))
    assert found is not None
    assert found.mappings == OLD.mappings


def test_after_an_exec_both_are_known() -> None:
    daemon = Daemon()
    processes = Processes(daemon.target)
    daemon.living[7] = OLD
    processes.look({7: {0x1234}})
    daemon.living[7] = NEW
    processes.look({7: {0x5678}})
    assert processes.place(7, [0x5678]) == 1
    assert processes.place(7, [0x1234]) == 0
    # In neither: the last one.
    assert processes.place(7, [0x9999]) == 1


def test_code_made_at_run_time_is_not_looked_for_for_ever() -> None:
    daemon = Daemon()
    daemon.living[7] = OLD
    processes = Processes(daemon.target)
    for _ in range(PATIENCE + 5):
        processes.look({7: {0x9999}})
    assert len(daemon.asked) == 1 + PATIENCE


def test_one_that_has_ended_before_has_no_place() -> None:
    daemon = Daemon()
    processes = Processes(daemon.target)
    processes.look({8: {0x1234}})
    assert processes.place(8, [0x1234]) == -1
    assert processes.snapshot(8, -1) is None
