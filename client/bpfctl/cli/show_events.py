# SPDX-License-Identifier: Apache-2.0
"""Events of one or several rings, written as they come."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Protocol

    from bpfctl.cli.invocation import Invocation
    from bpfctl.events import EventBatch, EventStream, Losses
    from bpfctl.output import RowStream
    from bpfctl.records import RecordReader
    from bpfctl.target import Target

    class Exporter(Protocol):
        """`bpfctl.cli.export_events`."""

        def begin(self, target: Target, rings: Sequence[Ring]) -> None: ...

        def write(self, ring: Ring, batch: EventBatch, most: int, losses: Losses) -> int: ...


_WAITING = 16
"""Batches (1 MiB each) that wait for the writer; more wait in the daemon, where losses
are counted."""


@dataclass
class Ring:
    """A subscription and how its records are read."""

    name: str
    stream: EventStream
    reader: RecordReader
    chosen: int = 0
    """Events that were written."""


class EventWriter:
    """Writes the events of `rings`; with `tagged` each says from which ring it is."""

    def __init__(
        self,
        invocation: Invocation,
        rings: Sequence[Ring],
        *,
        tagged: bool,
        stream: RowStream | None = None,
        exporter: Exporter | None = None,
    ) -> None:
        """`stream` is where other rows of the command go; None: one of its own. `exporter`,
        which has begun, takes the events in place of the command's output."""
        self._shared = stream
        self._exporter = exporter
        self._invocation = invocation
        self._rings = rings
        self._tagged = tagged
        self._written = 0
        self._queue: Queue[tuple[int, EventBatch | Exception | None]] = Queue(_WAITING)
        self._tables: dict[int, RowStream] = {}
        self._closing = contextlib.ExitStack()

    def run(
        self,
        *,
        count: int = 0,
        until: float | None = None,
        every: tuple[Callable[[], None], float] | None = None,
    ) -> None:
        """Write until `count` events (0: no bound), the time `until` (of time.monotonic),
        the end of the streams, or Ctrl-C, which is no error here.

        `every` is something to call from time to time, and its interval in seconds.
        """
        with self._closing, self._threads():
            try:
                for index, batch in self._batches(until, every):
                    left = count - self._written if count else batch.count
                    written = self._write(index, batch, min(left, batch.count))
                    self._written += written
                    self._rings[index].chosen += written
                    if count and self._written >= count:
                        break
            except KeyboardInterrupt:
                pass

    def _batches(
        self, until: float | None, every: tuple[Callable[[], None], float] | None
    ) -> Iterator[tuple[int, EventBatch]]:
        tick, interval = every if every and every[1] else (None, 0.0)
        due = time.monotonic() + interval
        open_rings = len(self._rings)
        while open_rings:
            now = time.monotonic()
            if until is not None and now >= until:
                return
            if tick is not None and now >= due:
                tick()
                due = now + interval
            waits = [until] if until is not None else []
            waits += [due] if tick is not None else []
            try:
                wait = max(0.0, min(waits) - now) if waits else None
                index, item = self._queue.get(timeout=wait)
            except Empty:
                continue
            if isinstance(item, Exception):
                raise item
            if item is None:
                open_rings -= 1
            else:
                yield index, item

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._pump, args=(index, ring.stream), daemon=True)
            for index, ring in enumerate(self._rings)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for ring in self._rings:
                ring.stream.close()
            for thread in threads:
                while thread.is_alive():
                    # A pump may wait for room in the queue.
                    with contextlib.suppress(Empty):
                        self._queue.get_nowait()
                    thread.join(0.01)

    def _pump(self, index: int, stream: EventStream) -> None:
        try:
            for batch in stream:
                if batch.count:
                    self._queue.put((index, batch))
        except Exception as error:
            self._queue.put((index, error))
        else:
            self._queue.put((index, None))

    def _write(self, index: int, batch: EventBatch, most: int) -> int:
        """The events of a batch, `most` at most; gives how many."""
        ring = self._rings[index]
        if self._exporter is not None:
            return self._exporter.write(ring, batch, most, ring.stream.losses)
        if self._invocation.format == "jsonl":
            return self._write_lines(ring, batch, most)
        rows = ring.reader.rows(batch)[:most]
        if rows:
            stream = self._stream(index)
            for row in rows:
                stream.write(self._tag(ring.name, row))
        return len(rows)

    def _write_lines(self, ring: Ring, batch: EventBatch, most: int) -> int:
        lines = ring.reader.json_lines(batch)
        count = lines.count(b"\n")
        if count > most or self._tagged:
            head, tail = b"", b"\n"
            if self._tagged:
                head = b'{"map":' + json.dumps(ring.name).encode() + b',"event":'
                tail = b"}\n"
            kept = lines.split(b"\n")[: min(count, most)]
            lines = b"".join(head + line + tail for line in kept)
        file = self._invocation.output.file
        file.flush()
        file.buffer.write(lines)
        file.flush()
        return min(count, most)

    def _tag(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        if not self._tagged:
            return row
        if self._invocation.format == "table":
            return {"map": name, **row}
        return {"map": name, "event": row}

    def _stream(self, index: int) -> RowStream:
        """A table has the columns of its ring; other formats have one stream for all."""
        if self._shared is not None:
            return self._shared
        if self._invocation.format != "table":
            index = 0
        if index not in self._tables:
            stream = self._invocation.output.stream()
            self._tables[index] = self._closing.enter_context(stream)
        return self._tables[index]

    def report(self) -> None:
        """Say on standard error what was received and what was lost."""
        for ring in self._rings:
            losses = ring.stream.losses
            chosen = f", {ring.chosen} chosen by --where" if ring.reader.where else ""
            self._invocation.warn(
                f"{ring.name}: {ring.stream.received} events received{chosen}, "
                f"{losses.total} lost "
                f"(kernel {losses.kernel}, daemon {losses.daemon}, network {losses.network})"
            )
