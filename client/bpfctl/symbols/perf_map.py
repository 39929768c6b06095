# SPDX-License-Identifier: Apache-2.0
"""Functions that a JIT compiler made, as it wrote them to /tmp/perf-PID.map.

A line is "START SIZE NAME", the numbers hexadecimal
(tools/perf/Documentation/jit-interface.txt of the kernel).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.errors import BpfctlError

if TYPE_CHECKING:
    from bpfctl.files import Files

MAX_BYTES = 256 << 20
_LOOK_BACK = 16
"""Functions that begin before an address and may hold it although others lie between."""


@dataclass(frozen=True, slots=True)
class JitFunction:
    """A function."""

    start: int
    size: int
    name: str


class PerfMap:
    """Functions by address. Pure."""

    def __init__(self, text: bytes) -> None:
        """Lines that are none are passed over. Where code was thrown away and its place
        taken by other, the later line counts."""
        latest: dict[int, tuple[int, JitFunction]] = {}
        for number, line in enumerate(text.decode(errors="replace").splitlines()):
            parts = line.split(" ", 2)
            try:
                start, size = int(parts[0], 16), int(parts[1], 16)
                latest[start] = (number, JitFunction(start, size, parts[2].strip()))
            except (ValueError, IndexError):
                continue
        self._starts = sorted(latest)
        self._functions = [latest[start] for start in self._starts]

    def __len__(self) -> int:
        return len(self._functions)

    def find(self, address: int) -> JitFunction | None:
        """The function written last that holds an address; None: there is none."""
        at = bisect_right(self._starts, address)
        holding = [
            (number, function)
            for number, function in self._functions[max(0, at - _LOOK_BACK) : at]
            if address < function.start + function.size
        ]
        return max(holding, key=lambda each: each[0])[1] if holding else None


def fetch(files: Files, pid: int) -> PerfMap | None:
    """The map of a process, in its own mount namespace and by the pid that it has in its
    own pid namespace; None: there is none, or the process has ended."""
    try:
        status = files.read(f"/proc/{pid}/status").decode(errors="replace")
        inner = str(pid)
        for line in status.splitlines():
            if line.startswith("NSpid:"):
                inner = line.split()[-1]
        return PerfMap(files.read(f"/proc/{pid}/root/tmp/perf-{inner}.map", 0, MAX_BYTES))
    except BpfctlError:
        return None
