# SPDX-License-Identifier: Apache-2.0
"""What the daemon costs while nobody asks anything of it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench import processes, result

ROUNDS = 5
IDLE_SECONDS = 10.0


def _pss_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the proportional set size")


def _switches(pid: int) -> int:
    """How often the threads of a process got a CPU."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows, and what could not be measured."""
    ready, pss, wakeups = [], [], []
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
            switches = _switches(running.pid)
            time.sleep(IDLE_SECONDS)
            wakeups.append(float(_switches(running.pid) - switches))
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
            wakeups,
            [0.0],
            goal,
            more_is_better=False,
        ),
    ], []
