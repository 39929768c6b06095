# SPDX-License-Identifier: Apache-2.0
"""What the daemon costs while nobody asks anything of it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench import processes, result

ROUNDS = 5
IDLE_SECONDS = 10.0
_GRPC_THREADS = ("event_engine", "lifeguard", "grpc_global_tim")
"""Threads of gRPC's C core, which look around by themselves."""


def _pss_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the proportional set size")


def _switches(pid: int) -> tuple[int, int]:
    """How often threads of a process got a CPU: the daemon's own, and those of gRPC."""
    own = library = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        count = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
        if lines[0].split()[1] in _GRPC_THREADS:
            library += count
        else:
            own += count
    return own, library


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows, and what could not be measured."""
    ready, pss = [], []
    for index in range(ROUNDS):
        before = time.perf_counter()
        with processes.daemon() as running:
            ready.append(time.perf_counter() - before)
            if index:
                continue
            with processes.connect(running) as target:
                target.maps()
            time.sleep(1)
            pss.append(_pss_megabytes(running.pid))
            own, library = _switches(running.pid)
            time.sleep(IDLE_SECONDS)
            own_after, library_after = _switches(running.pid)
    note = f"and {library_after - library} of gRPC's own threads"
    goal = "the goal"
    return [
        result.compare(
            "daemon: start until ready", "s", ready, [0.4], goal, more_is_better=False
        ),
        result.compare(
            "daemon: idle memory (PSS)", "MB", pss, [40.0], goal, more_is_better=False
        ),
        result.compare(
            f"daemon: wake-ups in {IDLE_SECONDS:.0f} s idle",
            "",
            [own_after - own],
            [0.0],
            goal,
            more_is_better=False,
            note=note,
        ),
    ], []
