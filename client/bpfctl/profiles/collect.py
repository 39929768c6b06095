# SPDX-License-Identifier: Apache-2.0
"""A profile of a target while it is taken."""

from __future__ import annotations

import dataclasses
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bpfctl.profiles import start
from bpfctl.profiles.counted import THREADS_FULL, UNWIND_ENDS, Counted, missed
from bpfctl.profiles.processes import Processes
from bpfctl.profiles.turns import Turns

if TYPE_CHECKING:
    from types import TracebackType

    from bpfctl.profiles.wish import Wish
    from bpfctl.target import Target
    from bpfctl.unwind.keeper import Keeper

SHORTEST, LONGEST = 0.1, 1.0
"""Seconds between two readings, by how full the map of stacks is."""


class Collector:
    """Loads, attaches and reads until `stop`; a context manager that leaves nothing behind.

    The reading is done by a thread of its own, so that Ctrl-C in the caller's never falls
    between reading a map and emptying it.
    """

    def __init__(self, target: Target, wish: Wish) -> None:
        self.target = target
        self.wish = wish
        self.counted = Counted()
        """What was read so far; changed by the reading thread under `lock`."""
        self.lock = threading.Lock()
        self.processes = Processes(target)
        self.event = ""
        """What samples: "cycles" or "cpu-clock"; empty: time off the CPU."""
        self.note = ""
        """Why it is not what `auto` would have liked better; empty: it is."""
        self.started = datetime.now(UTC)
        self.seconds = 0.0
        """How long it ran, from the first program attached to the last detached."""
        self.missed: dict[str, int] = {}
        """Once it was stopped: what is not in the sums or not whole, by reason."""
        self.ended = threading.Event()
        """Set when the reading has ended: by `stop`, or as it failed."""
        self.without_tables: dict[str, str] = {}
        """Once it was stopped: files that stacks were walked in by frame pointers, and why."""
        self._stop = threading.Event()
        self._keeper: Keeper | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Collector:
        self._session = self.target.session(f"profile: {self.wish.package}")
        try:
            self._loaded = start.load(self.target, self._session, self.wish, LONGEST)
            self._turns = Turns(self._loaded, self.counted, self.processes)
            self._keeper = self._tables()
            self._links, self.event, self.note = start.attach(self._loaded, self.wish)
        except BaseException:
            self._session.close()
            raise
        self.started = datetime.now(UTC)
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._read, name="profile", daemon=True)
        self._thread.start()
        return self

    def _tables(self) -> Keeper | None:
        """Unwind tables of the processes asked for; None: frame pointers are to be used."""
        if not self.wish.by_tables(self.target.info().machine):
            return None
        from bpfctl.unwind.keeper import Keeper

        keeper = Keeper(self.target, self._session, self._loaded)
        keeper.start(self.processes.now(self.wish.pids) if self.wish.pids else ())
        self.processes.told.append(keeper.take)
        return keeper

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._keeper is not None:
            self._keeper.stop()
        if self._session.ended is None:
            self._session.close()

    def stop(self) -> Counted:
        """Detaches, reads what is left, and gives all. Raises what the reading raised."""
        self._stop.set()
        assert self._thread is not None
        while self._thread.is_alive():
            self._thread.join(0.2)
        if self._error is not None:
            raise self._error
        return self.counted

    def _read(self) -> None:
        pause = SHORTEST
        try:
            while not self._stop.wait(pause):
                if self._session.ended is not None:
                    raise self._session.ended
                with self.lock:
                    full = self._turns.turn() / self._turns.size
                pause = next_pause(pause, full)
            self._finish()
        except BaseException as error:
            self._error = error
        finally:
            self.ended.set()

    def _finish(self) -> None:
        for name in self._links:
            self.target.detach(name)
        self.seconds = time.monotonic() - self._began
        with self.lock:
            self._turns.turn()
            self._turns.turn()
            events = self._turns.events()
            # Before waits are added that the program did not count.
            self.missed = missed(self.counted, events)
            if self._keeper is not None:
                self._unwound(self._keeper)
            if self.wish.off_cpu:
                self._still_waiting()
            if gone := self._gone():
                self.missed[GONE] = gone

    def _still_waiting(self) -> None:
        """Adds the time of those that wait until now, and counts who found no room."""
        state = self._loaded.map("switches").get(0)
        for row in list(self._loaded.map("threads").rows()):
            self._wait(row["value"], state["now_ns"])
        if state["threads_full"]:
            self.missed[THREADS_FULL] = state["threads_full"]

    def _wait(self, value: dict[str, Any], now: int) -> None:
        key = value["key"]
        left, woken = value["left_ns"], value["woken_ns"]
        if not self.wish.min_ns <= now - left <= (self.wish.max_ns or 1 << 64):
            return
        parts = [(key["state"], left, woken or now)]
        if woken:
            parts.append(("RUNNABLE", woken, now))
        if key["state"] == "RUNNABLE":
            parts = [("RUNNABLE", left, now)]
        for state, begin, end in parts:
            if end > begin:
                self._turns.add({**key, "state": state}, 1, end - begin)

    def _unwound(self, keeper: Keeper) -> None:
        for row in self._loaded.map("unwind_ends").rows():
            text = UNWIND_ENDS.get(str(row["key"]))
            if text and row["value"]:
                self.missed[text] = row["value"]
        self.without_tables = dict(keeper.unwinder.missed)
        if keeper.failed is not None:
            self.without_tables["later files"] = str(keeper.failed)

    def _gone(self) -> int:
        """Samples with a stack in user space of processes that nobody saw alive."""
        return sum(
            each.count
            for key, each in self.counted.sums.items()
            if key.user and key.mappings < 0
        )


GONE = "samples of processes that ended before their mappings were read"


def next_pause(pause: float, full: float) -> float:
    """Seconds to the next reading after one that found a map of stacks so full (0 to 1).

    Half as long from a half full map on, up to twice as long from a quarter down.
    """
    if full > 0.5:
        pause /= 2
    elif full < 0.25:
        pause *= 2
    return min(LONGEST, max(SHORTEST, pause))


def snapshot(counted: Counted) -> Counted:
    """A copy for who looks at it while the reading goes on; take it under the lock."""
    return Counted(
        {key: dataclasses.replace(each) for key, each in counted.sums.items()},
        dict(counted.stacks),
    )
