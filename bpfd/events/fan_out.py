# SPDX-License-Identifier: Apache-2.0
"""One reader for each ring, shared by its subscribers, inside the event loop.

A subscriber that waits makes the reader drain the ring once, straight into a message. As
long as nobody waits, records stay in the ring; only when the ring is more than half full
are they moved to the subscribers' queues. A queue has a bound in bytes. When it is full and
another subscriber needs records, they are dropped for this one, and counted; when all
queues are full, the ring is left alone, and the traced program counts what it cannot
write. Nothing ever blocks the traced program.

Draining takes well below a millisecond and happens in the event loop: a thread would only
add a hand-over.
"""

from __future__ import annotations

import asyncio
import collections
import select
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from bpfd import wire
from bpfd.kernel.ring import Taken

T = TypeVar("T")

_SHORT_WAIT = 0.001
"""Seconds between two looks at a ring that holds little, though wake-ups say it has some."""

totals: Counter[str] = Counter()
"""Records of all streams since the daemon started: "delivered" to queues, "daemon" (lost for
lack of room in one), "kernel" (lost by rings and programs while somebody subscribed)."""

_MAX_DRAINS = 16
"""Messages in one turn of the event loop, so that other calls get their turn."""


class Source(Protocol):
    """`bpfd.kernel.ring.Ring` or `bpfd.kernel.perf_buffer.PerfBuffers`."""

    size: int

    @property
    def poll_fds(self) -> list[int]: ...

    def pending(self) -> int: ...

    def drain(self, most: int, take: Callable[[Taken], T]) -> T | None: ...

    def lost(self) -> int: ...

    def close(self) -> None: ...


class Subscriber:
    """One stream of batches, in their wire format."""

    def __init__(self, reader: Reader, queue_bytes: int, batch_bytes: int) -> None:
        self.queue_bytes = queue_bytes
        self.batch_bytes = batch_bytes
        self.hungry = False
        self._reader = reader
        self._queue: collections.deque[bytes] = collections.deque()
        self._queued = 0
        self._sequence = 0
        self._lost_daemon = 0
        self._lost_before = reader.lost()
        self._reported = (0, 0)
        self._reported_end = False
        self._wake: asyncio.Future[None] | None = None

    @property
    def room(self) -> bool:
        """Whether a whole batch fits into the queue."""
        return not self._queue or self._queued + self.batch_bytes <= self.queue_bytes

    def put(self, taken: Taken, read_at_ns: int, lost: int) -> None:
        """Queues a batch, or drops and counts it."""
        size = sum(map(len, taken.views))
        if self._queue and self._queued + size > self.queue_bytes:
            self._sequence += taken.count
            self._lost_daemon += taken.count
            totals["daemon"] += taken.count
            return
        self._add(taken, read_at_ns, lost)
        self._sequence += taken.count
        totals["delivered"] += taken.count

    def report(self, lost: int) -> None:
        """Queues an empty batch if losses grew since the last one."""
        if (lost - self._lost_before, self._lost_daemon) != self._reported:
            self._add(Taken((), 0, 0), time.time_ns(), lost)

    def _add(self, taken: Taken, read_at_ns: int, lost: int) -> None:
        self._reported = (max(lost - self._lost_before, 0), self._lost_daemon)
        message = wire.event_batch(
            taken.views,
            sequence=self._sequence,
            count=taken.count,
            record_size=taken.record_size,
            lost_kernel=self._reported[0],
            lost_daemon=self._lost_daemon,
            read_at_ns=read_at_ns,
            cpu=taken.cpu,
        )
        self._queue.append(message)
        self._queued += len(message)
        self.hungry = False
        self.wake()

    def wake(self) -> None:
        """Lets `next` look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self) -> bytes | None:
        """The next message; None: the ring's object is gone and all was delivered.

        Raises what went wrong while the ring was read.
        """
        while not self._queue:
            if self._reader.failure is not None:
                raise self._reader.failure
            if self._reader.ended:
                if not self._reported_end:
                    self._reported_end = True
                    self.report(self._reader.lost())
                    continue
                return None
            self.hungry = True
            self._reader.look()
            if not self._queue and not self._reader.ended:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
        self.hungry = False
        message = self._queue.popleft()
        self._queued -= len(message)
        return message

    def close(self) -> None:
        """Leaves the reader; the last one to leave closes it."""
        self._reader.leave(self)


class Reader:
    """The only reader of one ring."""

    def __init__(
        self, source: Source, count_lost: Callable[[], int], on_close: Callable[[], None]
    ) -> None:
        """Takes over the source. `count_lost` reads what the programs counted as lost."""
        self.ended = False
        self.failure: Exception | None = None
        self._source = source
        self._count_lost = count_lost
        self._on_close = on_close
        self._subscribers: list[Subscriber] = []
        self._loop = asyncio.get_running_loop()
        self._poll_interval = 0.02
        self._timer: asyncio.TimerHandle | None = None
        self._last_drain = 0.0
        self._not_before = 0.0
        self._interval = self._poll_interval
        self._remaining: int | None = None
        self._lost: int | None = None
        # Edge-triggered: what stays in the ring on purpose does not wake the loop again.
        self._epoll = select.epoll()
        self._listening = False
        for fd in source.poll_fds:
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def subscribe(self, queue_bytes: int, batch_bytes: int, poll_interval: float) -> Subscriber:
        """One more stream; the shortest poll interval (seconds) of all counts."""
        first = not self._subscribers
        self._poll_interval = (
            poll_interval if first else min(poll_interval, self._poll_interval)
        )
        subscriber = Subscriber(self, queue_bytes, batch_bytes)
        self._subscribers.append(subscriber)
        self._arm(self._poll_interval)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Ends a stream."""
        if subscriber not in self._subscribers:
            return
        self._subscribers.remove(subscriber)
        if not self._subscribers:
            self._close()

    def _close(self) -> None:
        self._listen(False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._epoll.close()
        self._source.close()
        self._on_close()

    def finish(self) -> None:
        """No more records come: streams end when those of now are delivered."""
        if self._remaining is None:
            self._remaining = self._source.pending()
            self._not_before = 0.0
            for subscriber in self._subscribers:
                subscriber.wake()

    def lost(self) -> int:
        """Records that the ring or its programs lost, since a time before all streams."""
        lost = self._count_lost() + self._source.lost()
        if self._lost is not None and lost > self._lost:
            totals["kernel"] += lost - self._lost
        self._lost = lost
        return lost

    def look(self) -> None:
        """A subscriber waits: drains now, or when enough may have come together."""
        delay = self._not_before - self._loop.time()
        if delay > 0 and self._remaining is None:
            self._arm(delay)
            self._listen(True)
            return
        self._pump()

    def _pump(self) -> None:
        """Gives records to whoever waits, and makes room in a ring that fills."""
        for _ in range(_MAX_DRAINS):
            if not any(each.hungry for each in self._subscribers) and not self._fills():
                break
            if not self._drain():
                break
        hungry = any(each.hungry for each in self._subscribers)
        if hungry:
            lost = self.lost()
            for each in self._subscribers:
                if each.hungry:
                    each.report(lost)
        if self._remaining is not None and (self._remaining <= 0 or hungry):
            self.ended = True
            for each in self._subscribers:
                each.wake()
            return
        self._arm(self._poll_interval if hungry else self._interval)
        self._listen(hungry)

    def _fills(self) -> bool:
        return self._source.pending() * 2 > self._source.size and any(
            each.room for each in self._subscribers
        )

    def _drain(self) -> bool:
        most = min(each.batch_bytes for each in self._subscribers)
        size = self._source.drain(most, self._deliver)
        now = self._loop.time()
        if size is None:
            return False
        if self._remaining is not None:
            self._remaining -= size
        # How long until an eighth of the ring is filled, at the rate since the last time.
        rate = size / max(now - self._last_drain, 1e-6)
        self._interval = min(self._poll_interval, self._source.size / 8 / rate)
        self._last_drain = now
        enough = size >= most // 4 or self._interval < _SHORT_WAIT
        self._interval = max(self._interval, _SHORT_WAIT)
        self._not_before = 0.0 if enough else now + self._interval
        return True

    def _deliver(self, taken: Taken) -> int:
        now, lost = time.time_ns(), self.lost()
        for each in self._subscribers:
            each.put(taken, now, lost)
        return sum(map(len, taken.views))

    def _arm(self, delay: float) -> None:
        """One timer; an earlier one stays."""
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._not_before = 0.0
        self._guarded_pump()

    def _guarded_pump(self) -> None:
        """Outside of a call there is nobody to raise to: streams learn of it."""
        try:
            self._pump()
        except Exception as error:
            self.failure = error
            for each in self._subscribers:
                each.wake()

    def _listen(self, on: bool) -> None:
        if on == self._listening:
            return
        self._listening = on
        if on:
            self._loop.add_reader(self._epoll.fileno(), self._woken)
        else:
            self._loop.remove_reader(self._epoll.fileno())

    def _woken(self) -> None:
        """A record was written with a wake-up, which asks for no delay."""
        self._epoll.poll(0)
        delay = self._last_drain + _SHORT_WAIT - self._loop.time()
        if delay > 0:
            self._arm(delay)
            self._listen(False)
            return
        self._not_before = 0.0
        self._guarded_pump()
