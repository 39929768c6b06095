# SPDX-License-Identifier: Apache-2.0
"""What the kernel counted, as it is gathered turn by turn; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Addresses = tuple[int, ...]
"""Of a stack, the innermost first."""

EVENTS = {
    "SUMS_FULL": "samples: the map was full",
    "SUMS_BUSY": "samples: the map was locked",
    "STACKS_FULL": "stacks: the map was full",
    "STACKS_BUSY": "stacks: the map was locked",
    "USER_UNREADABLE": "stacks of user space that could not be read",
    "KERNEL_UNREADABLE": "stacks of the kernel that could not be read",
    "TRUNCATED": "stacks that are deeper than 127 frames",
    "PIDS_FULL": "children that were not followed",
    "TABLES_LATE": "stacks of user space by frame pointers: no tables yet",
}
"""Of enum stack_event (bpf/include/bpfd/stacks.h), in words."""

UNWIND_ENDS = {
    "UNWIND_NO_FUNCTION": "stacks of user space that end in code without unwind tables",
    "UNWIND_NO_RULE": "stacks of user space that end at a rule too rare to follow",
    "UNWIND_UNREADABLE": "stacks of user space that end where memory could not be read",
}
"""Of enum unwind_end (bpf/include/bpfd/unwind.h), in words."""

THREADS_FULL = "waits of threads beyond 16384 that waited at once"
LATE = "samples: read too late"
STACKS_UNKNOWN = "samples without their stack"
LOST_SAMPLES = ("SUMS_FULL", "SUMS_BUSY")


class Key(NamedTuple):
    """Whose sum it is, and of which stacks (by hash; 0: none)."""

    pid: int
    tid: int
    comm: str
    state: str
    """Enumerator of enum stack_state: "RUNNING", "BLOCKED", "RUNNABLE"."""
    user: int
    kernel: int
    mappings: int = -1
    """Place of the process's mappings in what was seen of it; -1: none was."""


@dataclass
class Sum:
    """How often, and for off-CPU time how long in nanoseconds."""

    count: int = 0
    ns: int = 0


@dataclass
class Counted:
    """All that was read so far."""

    sums: dict[Key, Sum] = field(default_factory=dict)
    stacks: dict[int, Addresses] = field(default_factory=dict)
    """By hash."""

    def add_stacks(self, hashes: Iterable[int], rows: Iterable[Iterable[int]]) -> None:
        """Stacks as the map has them: zeros behind the last address."""
        for number, row in zip(hashes, rows, strict=True):
            if number not in self.stacks:
                self.stacks[number] = tuple(_until_zero(row))

    def add(self, key: Key, count: int, ns: int) -> None:
        """Adds to a sum."""
        found = self.sums.setdefault(key, Sum())
        found.count += count
        found.ns += ns

    @property
    def samples(self) -> int:
        """How often something was added."""
        return sum(each.count for each in self.sums.values())

    def unknown(self) -> int:
        """Samples whose stack was not kept."""
        return sum(
            each.count
            for key, each in self.sums.items()
            if (key.user and key.user not in self.stacks)
            or (key.kernel and key.kernel not in self.stacks)
        )


def _until_zero(row: Iterable[int]) -> Iterator[int]:
    for address in row:
        if not address:
            return
        yield int(address)


def key_of(row: Mapping[str, Any], mappings: int = -1) -> Key:
    """The key of a row of a map of sums."""
    return Key(
        pid=row["pid"],
        tid=row["tid"],
        comm=str(row["comm"]),
        state=str(row["state"]),
        user=row["user"],
        kernel=row["kernel"],
        mappings=mappings,
    )


def missed(counted: Counted, events: Mapping[str, int]) -> dict[str, int]:
    """What is not in the sums or not whole, by reason in words; reasons with 0 are left out.

    `events` are the program's own counts. Each sample is in a sum, or counted as lost, or
    came into a map after that was read.
    """
    found = {text: events.get(name, 0) for name, text in EVENTS.items()}
    lost = sum(events.get(name, 0) for name in LOST_SAMPLES)
    found[LATE] = max(0, events.get("ADDED", 0) - counted.samples - lost)
    found[STACKS_UNKNOWN] = counted.unknown()
    return {text: number for text, number in found.items() if number}
