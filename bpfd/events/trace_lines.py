# SPDX-License-Identifier: Apache-2.0
"""One reader of trace_pipe for all who want its lines."""

from __future__ import annotations

import asyncio
import collections

from bpfd import work
from bpfd.kernel.trace_pipe import TracePipe

INTERVAL = 0.05
"""Seconds between two looks, while somebody wants to see lines."""

MAX_QUEUED = 4 << 20
"""Bytes that wait for one stream; what does not fit is dropped, and a line says so."""


class LineStream:
    """The lines for one call."""

    def __init__(self, owner: TraceLines) -> None:
        self._owner = owner
        self._queue: collections.deque[bytes] = collections.deque()
        self._queued = 0
        self._dropped = 0
        self._wake = asyncio.Event()

    def put(self, lines: bytes) -> None:
        """Queues lines, or drops them."""
        if self._queued + len(lines) > MAX_QUEUED and self._queue:
            self._dropped += lines.count(b"\n")
        else:
            if self._dropped:
                lines = b"[bpfd: %d LINES LOST]\n" % self._dropped + lines
                self._dropped = 0
            self._queue.append(lines)
            self._queued += len(lines)
        self._wake.set()

    async def next(self) -> bytes | None:
        """The next lines; None: the daemon ends."""
        while not self._queue:
            if self._owner.failure is not None:
                raise self._owner.failure
            if self._owner.ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        lines = self._queue.popleft()
        self._queued -= len(lines)
        return lines

    def wake(self) -> None:
        """Lets `next` look again."""
        self._wake.set()

    def close(self) -> None:
        """Ends the stream."""
        self._owner.leave(self)


class TraceLines:
    """Reads while there are streams, and not a moment longer."""

    def __init__(self) -> None:
        self.ended = False
        self.failure: Exception | None = None
        self._streams: list[LineStream] = []
        self._pipe: TracePipe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opening = asyncio.Lock()

    async def subscribe(self) -> LineStream:
        """One more stream. Raises what opening trace_pipe raises."""
        async with self._opening:
            if self._pipe is None:
                self._pipe = await work.run_cancellable(lambda _: TracePipe(), TracePipe.close)
                self.failure = None
                self._tick()
            stream = LineStream(self)
            self._streams.append(stream)
            return stream

    def _tick(self) -> None:
        assert self._pipe is not None
        try:
            lines = self._pipe.read()
        except OSError as error:
            self.failure = error
            for stream in self._streams:
                stream.wake()
            return
        if lines:
            for stream in self._streams:
                stream.put(lines)
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)

    def leave(self, stream: LineStream) -> None:
        """The last one to leave closes the file."""
        if stream in self._streams:
            self._streams.remove(stream)
        if not self._streams and self._pipe is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._pipe.close()
            self._pipe = None

    def finish(self) -> None:
        """The daemon ends."""
        self.ended = True
        for stream in self._streams:
            stream.wake()
