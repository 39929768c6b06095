# SPDX-License-Identifier: Apache-2.0
"""Readers and subscribers over a ring that a test fills."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from bpfctl import wire

from bpfd.events.fan_out import Reader, Subscriber
from bpfd.kernel.ring import Taken

T = TypeVar("T")

RECORD = 48


class FakeRing:
    """Records of 40 bytes; a pipe stands for the kernel's wake-ups."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.records: list[int] = []
        self.made = self.full = self.drains = 0
        self.closed = False
        self.fail: Exception | None = None
        self._read, self._write = os.pipe()

    @property
    def poll_fds(self) -> list[int]:
        return [self._read]

    def produce(self, count: int, *, wake: bool = True) -> None:
        for _ in range(count):
            if (len(self.records) + 1) * RECORD > self.size:
                self.full += 1
            else:
                self.records.append(self.made)
            self.made += 1
        if wake:
            os.write(self._write, b"x")

    def pending(self) -> int:
        return len(self.records) * RECORD

    def drain(self, most: int, take: Callable[[Taken], T]) -> T | None:
        if self.fail is not None:
            raise self.fail
        self.drains += 1
        count = min(len(self.records), max(most // RECORD, 1))
        if not count:
            return None
        parts = [struct.pack("=II5Q", 40, 0, number, 0, 0, 0, 0) for number in self.records]
        result = take(Taken([memoryview(b"".join(parts[:count]))], count, 40))
        del self.records[:count]
        return result

    def lost(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True
        os.close(self._read)
        os.close(self._write)


class Setting:
    """A ring, its reader, and whether the reader was closed."""

    def __init__(self, size: int = 1 << 16) -> None:
        self.ring = FakeRing(size)
        self.closed = 0
        self.reader = Reader(self.ring, lambda: self.ring.full, self._count_close)

    def _count_close(self) -> None:
        self.closed += 1

    def subscribe(
        self, queue: int = 1 << 20, batch: int = 4800, interval: float = 0.005
    ) -> Client:
        return Client(self.reader.subscribe(queue, batch, interval))


class Client:
    """Decodes what a subscriber gets."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.numbers: list[int] = []
        self.last = wire.EventBatch()

    async def read(self) -> bool:
        message = await asyncio.wait_for(self.subscriber.next(), 10)
        if message is None:
            return False
        self.last = batch = wire.event_batch(message)
        for at in range(0, len(batch.data), RECORD):
            self.numbers.append(struct.unpack_from("=Q", batch.data, at + 8)[0])
        return True

    async def read_until(self, accounted: int) -> None:
        while len(self.numbers) + self.last.lost_kernel + self.last.lost_daemon < accounted:
            assert await self.read()


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    found = Setting()
    yield found
    for subscriber in list(found.reader._subscribers):
        subscriber.close()
    if not found.ring.closed:
        found.ring.close()


async def test_waiting_subscriber_is_woken(setting: Setting) -> None:
    client = setting.subscribe(interval=3600)
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    setting.ring.produce(3)
    assert await reading
    assert client.numbers == [0, 1, 2]
    assert (client.last.sequence, client.last.count, client.last.record_size) == (0, 3, 40)


async def test_records_without_wakeup_come_after_the_interval(setting: Setting) -> None:
    client = setting.subscribe()
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    setting.ring.produce(3, wake=False)
    assert await reading
    assert client.numbers == [0, 1, 2]


async def test_backlog_stays_in_the_ring_while_nobody_reads(setting: Setting) -> None:
    setting.subscribe()
    setting.ring.produce(100)
    await asyncio.sleep(0.05)
    assert setting.ring.pending() == 100 * RECORD
    assert setting.ring.drains == 0


async def test_a_ring_that_fills_is_moved_to_the_queue(setting: Setting) -> None:
    client = setting.subscribe()
    produced = 0
    for _ in range(10):
        setting.ring.produce(600, wake=False)
        produced += 600
        await asyncio.sleep(0.02)
    assert setting.ring.full == 0
    await client.read_until(produced)
    assert client.numbers == list(range(produced))


async def test_full_queue_leaves_the_ring_alone_and_the_kernel_counts(
    setting: Setting,
) -> None:
    client = setting.subscribe(queue=10_000)
    for _ in range(20):
        setting.ring.produce(1000, wake=False)
        await asyncio.sleep(0.01)
    assert setting.ring.full > 0
    await client.read_until(20_000)
    assert client.last.lost_kernel == setting.ring.full
    assert client.last.lost_daemon == 0
    assert len(client.numbers) + setting.ring.full == 20_000
    assert client.numbers == sorted(set(client.numbers))


async def test_slow_subscriber_loses_alone_and_knows_how_much(setting: Setting) -> None:
    fast, slow = setting.subscribe(), setting.subscribe(queue=10_000)
    for index in range(20):
        setting.ring.produce(100)
        await fast.read_until((index + 1) * 100)
    assert fast.numbers == list(range(2000))
    assert fast.last.lost_daemon == 0
    await slow.read_until(2000)
    assert slow.last.lost_daemon == 2000 - len(slow.numbers) > 0
    assert slow.last.sequence + slow.last.count == 2000


async def test_losses_are_told_without_records(setting: Setting) -> None:
    client = setting.subscribe()
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    setting.ring.full = 5
    assert await reading
    assert (client.last.count, client.last.lost_kernel, client.numbers) == (0, 5, [])


async def test_losses_count_from_the_subscription_on(setting: Setting) -> None:
    setting.ring.full = 100
    client = setting.subscribe()
    setting.ring.produce(1)
    assert await client.read()
    assert client.last.lost_kernel == 0


async def test_late_subscriber_counts_from_its_own_first_record(setting: Setting) -> None:
    early = setting.subscribe()
    setting.ring.produce(10)
    await early.read_until(10)
    late = setting.subscribe()
    setting.ring.produce(5)
    await asyncio.gather(early.read_until(15), late.read_until(5))
    assert late.numbers == list(range(10, 15))
    assert late.last.sequence == 0
    assert early.last.sequence == 10


async def test_finish_delivers_what_is_there_and_ends(setting: Setting) -> None:
    clients = [setting.subscribe(), setting.subscribe()]
    setting.ring.produce(1000)
    setting.reader.finish()
    for client in clients:
        while await client.read():
            pass
        assert client.numbers == list(range(1000))


async def test_finish_wakes_a_subscriber_that_waits(setting: Setting) -> None:
    client = setting.subscribe(interval=3600)
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    setting.ring.full = 7
    setting.reader.finish()
    assert await reading
    assert client.last.lost_kernel == 7
    assert not await client.read()


async def test_finish_ends_though_records_keep_coming(setting: Setting) -> None:
    client = setting.subscribe()
    setting.ring.produce(500)
    setting.reader.finish()
    while await client.read():
        setting.ring.produce(100)
    assert 500 <= len(client.numbers) < 5000


async def test_last_one_to_leave_closes_the_ring(setting: Setting) -> None:
    first, second = setting.subscribe(), setting.subscribe()
    first.subscriber.close()
    first.subscriber.close()
    assert not setting.ring.closed
    second.subscriber.close()
    assert setting.ring.closed
    assert setting.closed == 1


async def test_failure_while_reading_ends_every_stream(setting: Setting) -> None:
    client = setting.subscribe()
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    setting.ring.fail = IndexError("damaged")
    setting.ring.produce(1)
    with pytest.raises(IndexError, match="damaged"):
        await reading


async def test_few_records_without_wakeup_wait_for_more(setting: Setting) -> None:
    client = setting.subscribe(interval=10)
    setting.ring.produce(1)
    assert await client.read()
    drains = setting.ring.drains
    setting.ring.produce(1, wake=False)
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    assert setting.ring.drains == drains
    setting.ring.produce(1)
    assert await reading
    assert client.numbers == [0, 1, 2]
