# SPDX-License-Identifier: Apache-2.0
"""Reads the maps of a package that includes bpfd/stacks.h, while its programs go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfctl.profiles.counted import Counted, key_of

if TYPE_CHECKING:
    from bpfctl.objects import LoadedObject
    from bpfctl.profiles.processes import Processes

SETTLE = 0.02
"""Seconds after which no program runs any more that has begun before the maps were turned;
they run for microseconds, with interrupts or preemption off. What a virtual machine that
was stopped meanwhile adds later is noticed, and counted as read too late."""


class Turns:
    """Turns the pair of maps that is written and reads the other one."""

    def __init__(self, loaded: LoadedObject, counted: Counted, processes: Processes) -> None:
        self._counted = counted
        self._processes = processes
        self._control = loaded.map("control")
        self._sums = [loaded.map("sums_0"), loaded.map("sums_1")]
        self._stacks = [loaded.map("stacks_0"), loaded.map("stacks_1")]
        self._events = loaded.map("stack_events")
        self._written = 0
        self.size = self._stacks[0].info.max_entries
        """Stacks that one turn can hold."""

    def turn(self) -> int:
        """Reads and empties what was written since the last turn; gives its stacks' number."""
        read = self._written
        self._control.set(0, 1 - read)
        self._written = 1 - read
        time.sleep(SETTLE)
        rows = list(self._sums[read].rows())
        stacks = self._read_stacks(read)
        if rows:
            self._sums[read].clear()
        if stacks:
            self._stacks[read].clear()
        self._take(rows)
        return stacks

    def _read_stacks(self, read: int) -> int:
        number = 0
        for keys, values in self._stacks[read].arrays():
            number += len(keys)
            self._counted.add_stacks(keys.tolist(), values["addresses"].tolist())
        return number

    def _take(self, rows: list[dict[str, object]]) -> None:
        """Adds sums; looks at processes that are new among them."""
        user: dict[int, set[int]] = {}
        for row in rows:
            key = key_of(row["key"])  # type: ignore[arg-type]
            if key.user:
                user.setdefault(key.pid, set()).update(self._counted.stacks.get(key.user, ()))
        self._processes.look(user)
        for row in rows:
            value: dict[str, int] = row["value"]  # type: ignore[assignment]
            self.add(row["key"], value["count"], value["ns"])

    def add(self, row: object, count: int, ns: int) -> None:
        """Adds to the sum of a key as the map has it."""
        key = key_of(row)  # type: ignore[arg-type]
        if key.user:
            stack = self._counted.stacks.get(key.user, ())
            key = key._replace(mappings=self._processes.place(key.pid, stack))
        self._counted.add(key, count, ns)

    def events(self) -> dict[str, int]:
        """The program's own counts by enumerator."""
        return dict(self._event_rows())

    def _event_rows(self) -> Iterator[tuple[str, int]]:
        for row in self._events.rows():
            yield str(row["key"]), int(row["value"])
