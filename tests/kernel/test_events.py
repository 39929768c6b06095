# SPDX-License-Identifier: Apache-2.0
"""Event streams from a ring buffer and a perf event array, through the daemon's API."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bpfctl import wire
from bpfctl.events import LossCounter, records
from google.protobuf.duration_pb2 import Duration

from bpfd.kernel import mounts
from bpfd.v1 import common_pb2, events_pb2, maps_pb2
from bpfd.v1.events_pb2_grpc import EventsStub
from tests.kernel.api import Api, eventually, map_ref, refused
from tests.kernel.clang import clang
from tests.kernel.conftest import RunningDaemon
from tests.kernel.event_support import (
    DISCARD,
    FIXED,
    LONG,
    NO_WAKEUP,
    TWO_SIZES,
    Producer,
    Stream,
    load,
)

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


@pytest.fixture
def producer(api: Api) -> Iterator[Producer]:
    with api.session() as lifetime:
        yield load(api, lifetime, 1 << 20)


def test_records_arrive_whole_and_in_order(channel: grpc.Channel, producer: Producer) -> None:
    stream = Stream(channel)
    producer.run(1000)
    batch = stream.read()
    assert (batch.sequence, batch.record_size, batch.stride) == (0, 40, 48)
    first = bytes(next(records(batch)))
    assert struct.unpack("=5Q", first) == (0, 2**64 - 1, *struct.unpack("=QQ", first[16:32]), 0)
    stream.read_until(1000)
    assert stream.numbers == list(range(1000))
    assert stream.counter.losses.total == 0
    stream.call.cancel()


def test_the_generated_classes_read_the_stream(
    channel: grpc.Channel, producer: Producer
) -> None:
    call = EventsStub(channel).Subscribe(events_pb2.SubscribeRequest(map=map_ref("ev/ev_ring")))
    call.initial_metadata()
    producer.run(10)
    batch = next(call)
    assert (batch.count, batch.record_size, len(batch.data)) == (10, 40, 480)
    assert batch.HasField("losses")
    call.cancel()


@pytest.mark.parametrize("flags", [0, NO_WAKEUP], ids=["wakeup", "no wakeup"])
@pytest.mark.parametrize("kind", [FIXED, TWO_SIZES, DISCARD, LONG])
def test_no_record_is_missing(
    channel: grpc.Channel, producer: Producer, kind: int, flags: int
) -> None:
    stream = Stream(channel, batch_bytes=32 << 10)
    written = 0
    for _ in range(5):
        count = 150 if kind == LONG else 3000
        producer.run(count, kind, flags)
        written += count // 3 * 2 if kind == DISCARD else count
        stream.read_until(written)
    assert stream.numbers == list(range(written))
    assert stream.counter.losses.total == 0
    stream.call.cancel()


def test_backlog_of_before_the_subscription_is_delivered(
    channel: grpc.Channel, producer: Producer
) -> None:
    producer.run(500)
    stream = Stream(channel)
    stream.read_until(500)
    assert stream.numbers == list(range(500))
    stream.call.cancel()


def test_delivered_and_lost_are_all_that_was_produced(
    channel: grpc.Channel, producer: Producer
) -> None:
    """A full ring: nobody reads, then everything is accounted for."""
    stream = Stream(channel, queue_bytes=1 << 20, batch_bytes=64 << 10)
    produced = 600_000
    for _ in range(6):
        producer.run(produced // 6)
    stream.read_until(produced)
    losses = stream.counter.losses
    assert stream.counter.received + losses.total == produced
    assert losses.kernel > 0
    assert losses.network == 0
    assert stream.numbers == sorted(set(stream.numbers))
    stream.call.cancel()


def test_a_slow_subscriber_loses_alone(
    daemon: RunningDaemon, channel: grpc.Channel, producer: Producer
) -> None:
    """One reads everything; the other one reads nothing until the end."""
    with daemon.channel() as other:
        fast = Stream(channel, batch_bytes=64 << 10)
        slow = Stream(other, queue_bytes=128 << 10, batch_bytes=64 << 10)
        rounds, each = 60, 10_000
        for index in range(rounds):
            producer.run(each)
            fast.read_until((index + 1) * each)
        assert fast.numbers == list(range(rounds * each))
        assert fast.counter.losses.total == 0
        producer.run(1)
        slow.read_until(rounds * each + 1)
        assert slow.counter.losses.daemon > 0
        assert slow.counter.losses.kernel == 0
        assert slow.counter.losses.network == 0
        assert slow.counter.received + slow.counter.losses.daemon == rounds * each + 1
        fast.call.cancel()
        slow.call.cancel()


def test_under_load_every_record_is_accounted_for(
    channel: grpc.Channel, producer: Producer
) -> None:
    """A producer at full speed into a small ring, while a client reads."""
    stream = Stream(channel)
    produced = 3_000_000
    thread = threading.Thread(target=producer.run, args=(produced,))
    thread.start()
    received = 0
    while received + stream.counter.losses.total < produced:
        batch = next(stream.call)
        stream.counter.add(batch)
        received = stream.counter.received
    thread.join()
    assert received + stream.counter.losses.total == produced
    assert received > 0
    stream.call.cancel()


def test_stream_ends_when_the_object_is_unloaded(api: Api, channel: grpc.Channel) -> None:
    with api.session() as lifetime:
        producer = load(api, lifetime, 1 << 20)
        stream = Stream(channel, batch_bytes=4096)
        producer.run(5000)
        api.unload("ev")
        stream.read_rest()
        assert stream.call.code() == grpc.StatusCode.OK
        assert stream.numbers == list(range(5000))


def test_stream_ends_with_the_session(api: Api, channel: grpc.Channel) -> None:
    with api.session() as lifetime:
        producer = load(api, lifetime, 1 << 20)
        stream = Stream(channel)
        producer.run(100)
    stream.read_rest()
    assert stream.call.code() == grpc.StatusCode.OK
    assert stream.numbers == list(range(100))


def test_cancel_and_deadline_end_the_subscription(
    daemon: RunningDaemon, channel: grpc.Channel, producer: Producer
) -> None:
    before = _open_files(daemon.pid)
    streams = [Stream(channel) for _ in range(3)]
    assert _open_files(daemon.pid) > before
    for stream in streams:
        stream.call.cancel()
    request = events_pb2.SubscribeRequest(map=map_ref("ev/ev_ring"))
    with pytest.raises(grpc.RpcError) as raised:
        list(wire.subscribe(channel)(request, timeout=0.2))
    error: Any = raised.value
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert eventually(lambda: _open_files(daemon.pid) <= before)
    again = Stream(channel)
    producer.run(10)
    again.read_until(10)
    assert again.numbers == list(range(10))
    again.call.cancel()


def _open_files(pid: int) -> int:
    targets = [_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return sum("bpf-map" in target or "eventpoll" in target for target in targets)


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def test_daemon_that_ends_delivers_what_is_there(
    daemon: RunningDaemon, api: Api, channel: grpc.Channel
) -> None:
    session, _ = api.open_session()
    producer = load(api, common_pb2.Lifetime(session=session), 1 << 20)
    stream = Stream(channel, poll_interval=Duration(seconds=3600))
    producer.run(100)
    daemon.stop()
    with contextlib.suppress(grpc.RpcError):
        stream.read_rest()
    assert stream.numbers == list(range(100))


def test_perf_event_array(channel: grpc.Channel, producer: Producer) -> None:
    stream = Stream(channel, "ev/ev_perf", perf_pages=256)
    for _ in range(3):
        producer.run_perf(1000)
    stream.read_until(3000)
    assert sorted(stream.numbers) == list(range(3000))
    assert stream.counter.losses.total == 0
    stream.call.cancel()


def test_perf_event_array_counts_what_it_loses(
    channel: grpc.Channel, producer: Producer
) -> None:
    stream = Stream(channel, "ev/ev_perf", perf_pages=1, poll_interval=Duration(seconds=1))
    for _ in range(20):
        producer.run_perf(1000)
    stream.read_until(20_000)
    assert stream.counter.losses.kernel > 0
    assert stream.counter.received + stream.counter.losses.total == 20_000
    assert stream.numbers == sorted(set(stream.numbers)) or os.cpu_count() != 1
    stream.call.cancel()


def test_lost_map_can_be_named(channel: grpc.Channel, api: Api, producer: Producer) -> None:
    ids = {
        item.name: item.id
        for item in api.maps.List(maps_pb2.ListMapsRequest()).maps
        if item.object == "ev"
    }
    request = events_pb2.SubscribeRequest(
        map=common_pb2.MapRef(id=ids["ev_ring"]), lost_map=map_ref("ev/ev_ring_lost")
    )
    call = wire.subscribe(channel)(request)
    call.initial_metadata()
    counter = LossCounter()
    producer.run(100_000)
    while counter.received + counter.losses.total < 100_000:
        counter.add(next(call))
    assert counter.losses.kernel > 0
    call.cancel()


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"map": map_ref("ev/ev_ring_lost")}, "invalid_argument", "only ring buffers"),
        ({"map": map_ref("ev/none")}, "not_found", "ev/none"),
        ({}, "invalid_argument", "say which"),
        ({"map": map_ref("ev/ev_ring"), "batch_bytes": 1 << 30}, "limit_exceeded", "batch"),
        ({"map": map_ref("ev/ev_ring"), "queue_bytes": 1 << 40}, "limit_exceeded", "queue"),
        ({"map": map_ref("ev/ev_perf"), "perf_pages": 3}, "invalid_argument", "power of two"),
        (
            {"map": map_ref("ev/ev_ring"), "poll_interval": Duration(nanos=1)},
            "invalid_argument",
            "1 ms",
        ),
        (
            {"map": map_ref("ev/ev_ring"), "lost_map": map_ref("ev/ev_perf")},
            "invalid_argument",
            "counters",
        ),
    ],
)
def test_refusals(
    channel: grpc.Channel, producer: Producer, fields: dict[str, Any], kind: str, words: str
) -> None:
    with refused(kind) as refusal:
        next(wire.subscribe(channel)(events_pb2.SubscribeRequest(**fields)))
    assert words in refusal.text


@pytest.fixture
def tracing_on() -> Iterator[Path]:
    """The switch of the kernel's trace buffer, on for the time of the test."""
    switch = Path(mounts.ensure_tracefs(), "tracing_on")
    before = switch.read_text()
    switch.write_text("1")
    yield switch
    switch.write_text(before)


def test_trace_pipe(channel: grpc.Channel, producer: Producer, tracing_on: Path) -> None:
    calls = [
        EventsStub(channel).TracePipe(events_pb2.TracePipeRequest(), timeout=20)
        for _ in range(2)
    ]
    for call in calls:
        call.initial_metadata()
    producer._run("print", struct.pack("=4Q", 4711, 0, 0, 0))
    for call in calls:
        text = b""
        while b"bpfd-test 4711" not in text:
            text += next(call).lines
        assert text.endswith(b"\n")
        call.cancel()


def test_trace_pipe_says_why_nothing_would_come(
    channel: grpc.Channel, tracing_on: Path
) -> None:
    tracing_on.write_text("0")
    with refused("not_supported") as refusal:
        next(EventsStub(channel).TracePipe(events_pb2.TracePipeRequest(), timeout=20))
    assert "tracing_on" in refusal.text
