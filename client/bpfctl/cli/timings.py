# SPDX-License-Identifier: Apache-2.0
"""Where the time of a command goes."""

from __future__ import annotations

import os
import time


class Timings:
    """Seconds by step, from the start of the process on."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[float, str]] = {}
        self._begin = time.perf_counter() - _age()
        self._last = self._begin
        self.step("start")

    def step(self, name: str, note: str = "") -> None:
        """The time since the step before goes to `name`."""
        now = time.perf_counter()
        self._steps[name] = (now - self._last, note)
        self._last = now

    def line(self) -> str:
        """For people: "start 93 ms, connect 12 ms, ..., total 180 ms"."""
        parts = [
            f"{name} {took * 1000:.0f} ms" + (f" ({note})" if note else "")
            for name, (took, note) in self._steps.items()
        ]
        return ", ".join([*parts, f"total {(self._last - self._begin) * 1000:.0f} ms"])


def _age() -> float:
    """Seconds since this process was started; 0 where the system does not say."""
    try:
        with open("/proc/self/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        # Field 22 of proc_pid_stat(5): clock ticks after boot.
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
