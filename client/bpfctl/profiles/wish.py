# SPDX-License-Identifier: Apache-2.0
"""What a profile is to be of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bpfctl.errors import InvalidArgument, NotSupported

Per = Literal["process", "thread", "comm"]
Event = Literal["auto", "cycles", "cpu-clock"]
Unwind = Literal["auto", "tables", "frame-pointers"]

COMM_BYTES = 15
"""TASK_COMM_LEN of the kernel without the NUL."""

UNWIND_MACHINES = ("x86_64", "aarch64")
"""Whose stacks bpf/include/bpfd/unwind.h walks, as uname calls them."""

MAX_PIDS = 8192
"""Entries of the map `pids` (bpf/include/bpfd/stacks.h)."""


@dataclass(frozen=True)
class Wish:
    """Filters are all met by what is counted; empty ones let everything through."""

    off_cpu: bool = False
    """Time off the CPU, in nanoseconds; else samples of what runs."""
    frequency: int = 99
    """Samples a second and CPU."""
    event: Event = "auto"
    """What samples: "cycles" of the hardware, "cpu-clock" of the kernel's timers; "auto":
    cycles where there is a counter for them."""
    pids: tuple[int, ...] = ()
    """Processes with all their threads, by their numbers in the first pid namespace."""
    follow: bool = False
    """Also children that those processes start from now on, and theirs."""
    cgroup: str = ""
    """Folder of a cgroup (v2), absolute or below the mount; with those below it."""
    comm: str = ""
    """Name of a process or of a thread."""
    idle: bool = False
    """Also samples of CPUs with nothing to do."""
    kernel: bool = True
    user: bool = True
    """Which of the two stacks are taken."""
    unwind: Unwind = "auto"
    """How stacks of user space are walked: by tables made of the files' .eh_frame, or by
    frame pointers; "auto": by tables where the target's processor can."""
    per: Per = "process"
    min_ns: int = 0
    max_ns: int = 0
    """Of time off the CPU: only waits of at least, and of at most so long; 0: any."""

    def __post_init__(self) -> None:
        if not 1 <= self.frequency <= 1_000_000:
            raise InvalidArgument("frequency", f"{self.frequency} is not from 1 to 1000000")
        if not (self.kernel or self.user):
            raise InvalidArgument("stacks", "neither the kernel's nor those of user space")
        if self.follow and not self.pids:
            raise InvalidArgument("follow", "children of which process? Give its pid")
        if len(self.pids) > MAX_PIDS:
            raise InvalidArgument("pid", f"at most {MAX_PIDS} processes")
        if self.max_ns and self.max_ns < self.min_ns:
            raise InvalidArgument("max", "is below min")
        if len(self.comm.encode()) > COMM_BYTES:
            raise InvalidArgument(
                "comm", f"names of processes have at most {COMM_BYTES} bytes: {self.comm!r}"
            )

    @property
    def package(self) -> str:
        """The package of `bpf/` that does it."""
        return "offcpu" if self.off_cpu else "profile"

    def by_tables(self, machine: str) -> bool:
        """Whether user stacks are walked by tables on such a target (uname -m)."""
        if not self.user or self.unwind == "frame-pointers":
            return False
        able = machine in UNWIND_MACHINES
        if self.unwind == "tables" and not able:
            raise NotSupported(
                f"unwind tables on {machine}",
                needs=f"a processor of {' or '.join(UNWIND_MACHINES)}; use frame-pointers",
            )
        return able

    def constants(
        self, cgroup_id: int = 0, cgroup_level: int = 0, *, by_tables: bool = False
    ) -> dict[str, int | str]:
        """Global variables of the package, by name."""
        values: dict[str, int | str] = {
            "per_thread": self.per == "thread",
            "without_kernel": not self.kernel,
            "without_user": not self.user,
            "by_tables": by_tables,
            "only_pids": bool(self.pids),
            "cgroup": cgroup_id,
            "cgroup_level": cgroup_level,
            "comm": self.comm,
        }
        if self.off_cpu:
            values |= {"min_ns": self.min_ns, "max_ns": self.max_ns or (1 << 64) - 1}
        else:
            values["idle"] = self.idle
        return values

    def stacks(self, cpus: int, seconds: float) -> int:
        """Size of a map of stacks that is read every `seconds`.

        Samples can bring two stacks each, so twice their number is never exceeded, three
        times in case a reading is late. How many waits there are nobody knows; more of
        them are read more often.
        """
        wanted = 4096 if self.off_cpu else int(6 * self.frequency * cpus * seconds)
        return max(512, min(1 << 14, 1 << (wanted - 1).bit_length()))
