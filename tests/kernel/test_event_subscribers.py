# SPDX-License-Identifier: Apache-2.0
"""Many subscribers of one buffer under overload: each gets every record, or it is counted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.kernel.api import Api
from tests.kernel.clang import clang
from tests.kernel.conftest import RunningDaemon
from tests.kernel.event_support import Producer, Stream, load

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

ROUNDS = 20
PACED = 120
RING_BYTES = 64 << 10
DEADLINE = 120


@pytest.fixture
def producer(channel: grpc.Channel) -> Iterator[Producer]:
    api = Api(channel)
    with api.session() as lifetime:
        yield load(api, lifetime, RING_BYTES)


class Subscriber:
    """A stream with a thread that reads it, at its own pace."""

    def __init__(
        self, channel: grpc.Channel, where: str, pause: float = 0, **fields: int
    ) -> None:
        interval = Duration(nanos=2_000_000)
        self.stream = Stream(channel, where, poll_interval=interval, **fields)
        self.accounted = 0
        self._pause = pause
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Subscriber:
        """Begin to read."""
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            while True:
                self.stream.read()
                counter = self.stream.counter
                self.accounted = counter.received + counter.losses.total
                time.sleep(self._pause)
        except (grpc.RpcError, StopIteration):
            pass

    def wait(self, accounted: int) -> None:
        """Wait until so many records came or are known to be lost."""
        until = time.monotonic() + DEADLINE
        while self.accounted < accounted:
            assert time.monotonic() < until, f"{self.accounted} of {accounted}"
            time.sleep(0.005)

    def end(self) -> None:
        """Go away."""
        self.stream.call.cancel()
        self._thread.join(30)


@pytest.mark.parametrize(
    ("where", "each", "run"),
    [
        ("ev/ev_ring", 3000, Producer.run),
        ("ev/ev_perf", 1000, Producer.run_perf),
    ],
    ids=["ring", "perf"],
)
def test_each_subscriber_gets_or_counts_every_record(
    daemon: RunningDaemon,
    channel: grpc.Channel,
    producer: Producer,
    where: str,
    each: int,
    run: Callable[[Producer, int], None],
) -> None:
    """A buffer that is too small, two that keep up, one that is slow, one that sleeps, one
    that goes away, one that comes late."""
    small = {"queue_bytes": 64 << 10, "batch_bytes": 16 << 10, "perf_pages": 16}
    channels = [daemon.channel() for _ in range(5)]
    fast = [Subscriber(each_channel, where, **small).start() for each_channel in channels[:2]]
    slow = Subscriber(channels[2], where, 0.02, **small).start()
    sleeper = Subscriber(channels[3], where, **small)
    leaver = Subscriber(channels[4], where, **small).start()

    produced = 0
    for index in range(ROUNDS):
        run(producer, each)
        produced += each
        if index == ROUNDS // 2:
            leaver.end()
    for _ in range(PACED):
        # What fits: only those that do not read lose.
        fast[0].wait(produced)
        run(producer, 800)
        produced += 800
    for subscriber in fast:
        subscriber.wait(produced)
    # The buffer is empty: what comes from here on is what the late one is to get.
    before = produced
    late = Subscriber(channel, where, **small).start()
    for _ in range(ROUNDS):
        run(producer, each)
        produced += each
    sleeper.start()
    dues = [(late, produced - before)]
    dues += [(subscriber, produced) for subscriber in (*fast, slow, sleeper)]
    for subscriber, due in dues:
        subscriber.wait(due)
    # Nothing comes behind that was counted before.
    time.sleep(0.1)
    for subscriber, due in dues:
        counter = subscriber.stream.counter
        assert counter.received + counter.losses.total == due
        assert counter.losses.network == 0
        assert counter.received == len(subscriber.stream.numbers)
        assert len(set(subscriber.stream.numbers)) == counter.received
    assert fast[0].stream.counter.losses.daemon == 0
    assert sleeper.stream.counter.losses.daemon > 0
    assert sleeper.stream.counter.received > 0
    # A buffer that is too small loses for all of them alike.
    kernel = {each.stream.counter.losses.kernel for each in (*fast, slow, sleeper)}
    assert len(kernel) == 1
    assert kernel.pop() >= late.stream.counter.losses.kernel
    for subscriber in (*fast, slow, sleeper, late):
        subscriber.end()
    for opened in channels:
        opened.close()


def test_records_on_all_cpus_come_with_their_cpu(
    channel: grpc.Channel, producer: Producer
) -> None:
    """Perf buffers are one for each CPU: each keeps its order, and none is forgotten."""
    cpus = sorted(os.sched_getaffinity(0))
    stream = Stream(channel, "ev/ev_perf", perf_pages=64)
    for cpu in cpus:
        thread = threading.Thread(target=_on_cpu, args=(cpu, lambda: producer.run_perf(500)))
        thread.start()
        thread.join()
    seen: dict[int, list[int]] = {}
    while stream.counter.received + stream.counter.losses.total < 500 * len(cpus):
        batch = stream.read()
        if batch.count:
            assert batch.cpu is not None
            seen.setdefault(batch.cpu, []).extend(stream.numbers[-batch.count :])
    assert sorted(seen) == cpus
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert stream.counter.losses.total == 0
    assert sorted(stream.numbers) == list(range(500 * len(cpus)))
    stream.call.cancel()


def _on_cpu(cpu: int, work: Callable[[], None]) -> None:
    os.sched_setaffinity(0, {cpu})
    work()
