# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from typing import Any

import pytest
from bpfctl.btf import Codec
from bpfctl.export.perfetto import PerfettoFile
from bpfctl.export.timing import Clock, Epochs, meaning
from bpfctl.records import RecordReader
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from tests.unit.bpfctl import event_records
from tests.unit.bpfctl.btf.blob import Blob

NOW = 1_800_000_000 * 10**9
EPOCHS = Epochs(monotonic=NOW - 1000 * 10**9, boottime=NOW - 5000 * 10**9)
MONOTONIC_NOW = 1000 * 10**9


class Trace:
    """A trace, read again as its schema says, with the slices of every track put together."""

    def __init__(self, data: bytes) -> None:
        trace = protos.Trace.FromString(data)
        self.packets = list(trace.packet)
        self.tracks = {
            packet.track_descriptor.uuid: packet.track_descriptor
            for packet in self.packets
            if packet.HasField("track_descriptor")
        }
        self.events = [packet for packet in self.packets if packet.HasField("track_event")]
        self.slices = list(self._slices())

    def of_type(self, kind: str) -> list[Any]:
        number = getattr(protos.TrackEvent, kind)
        return [packet for packet in self.events if packet.track_event.type == number]

    def _slices(self) -> Any:
        """(track, begin, end, event); fails for slices that overlap on one track."""
        kinds = (protos.TrackEvent.TYPE_SLICE_BEGIN, protos.TrackEvent.TYPE_SLICE_END)
        open_slices: dict[int, Any] = {}
        chosen = [packet for packet in self.events if packet.track_event.type in kinds]
        # An end comes before the beginning of the next one at the same time.
        for packet in sorted(
            chosen, key=lambda p: (p.timestamp, p.track_event.type == kinds[0])
        ):
            track = packet.track_event.track_uuid
            if packet.track_event.type == kinds[0]:
                assert track not in open_slices
                open_slices[track] = packet
            else:
                begun = open_slices.pop(track)
                yield track, begun.timestamp, packet.timestamp, begun.track_event
        assert not open_slices


def written(rows: list[dict[str, Any]], coder: Codec | None = None) -> Trace:
    coder = coder or event_records.codec()
    file = io.BytesIO()
    with PerfettoFile(file, EPOCHS) as out:
        array = RecordReader(coder).array(event_records.batch(coder, rows))
        out.write("drops", coder, array, NOW)
    return Trace(file.getvalue())


def row(number: int, latency: int = 0, **fields: Any) -> dict[str, Any]:
    stamp = {"ts": MONOTONIC_NOW - 10**9 + number * 1000, "latency": latency}
    return {**stamp, "pid": 100, "tid": 101, "comm": "curl", **fields}


def arguments(event: Any) -> dict[str, Any]:
    def value(note: Any) -> Any:
        if note.dict_entries:
            return {inner.name: value(inner) for inner in note.dict_entries}
        if note.array_values:
            return [value(inner) for inner in note.array_values]
        return getattr(note, str(note.WhichOneof("value")))

    return {note.name: value(note) for note in event.debug_annotations}


def test_clocks_are_related_once_and_first() -> None:
    trace = written([row(1)])
    first = trace.packets[0]
    clocks = {clock.clock_id: clock.timestamp for clock in first.clock_snapshot.clocks}
    assert clocks == {6: 5000 * 10**9, 3: MONOTONIC_NOW, 1: NOW}
    assert (
        first.clock_snapshot.primary_trace_clock == protos.BuiltinClock.BUILTIN_CLOCK_BOOTTIME
    )
    assert sum(packet.HasField("clock_snapshot") for packet in trace.packets) == 1
    assert all(packet.trusted_packet_sequence_id for packet in trace.packets)


def test_a_record_is_an_instant_of_its_thread() -> None:
    trace = written([row(5, dport=443, delta=-2, ratio=0.5, inner={"a": 1, "from": 2})])
    (packet,) = trace.of_type("TYPE_INSTANT")
    assert packet.timestamp == MONOTONIC_NOW - 10**9 + 5000
    assert packet.timestamp_clock_id == Clock.MONOTONIC
    event = packet.track_event
    assert event.name == "event"
    thread = trace.tracks[event.track_uuid]
    assert (thread.thread.pid, thread.thread.tid) == (100, 101)
    assert thread.thread.thread_name == "curl"
    assert trace.tracks[thread.parent_uuid].process.pid == 100
    found = arguments(event)
    assert found["dport"] == 443
    assert found["delta"] == -2
    assert found["ratio"] == 0.5
    assert found["inner"] == {"a": 1, "from": 2}
    assert found["ports"] == [0, 0, 0, 0]
    assert not {"ts", "latency", "pid", "tid", "comm"} & set(found)


def test_durations_are_slices_that_end_at_the_time_of_the_record() -> None:
    trace = written([row(number, latency=500) for number in range(1, 4)])
    assert not trace.of_type("TYPE_INSTANT")
    assert [end - begin for _, begin, end, _ in trace.slices] == [500] * 3
    base = MONOTONIC_NOW - 10**9
    assert [end - base for _, _, end, _ in trace.slices] == [1000, 2000, 3000]
    # Nothing overlaps: one track below that of the thread.
    (lane,) = {track for track, *_ in trace.slices}
    assert trace.tracks[trace.tracks[lane].parent_uuid].thread.tid == 101


def test_slices_that_overlap_lie_beside_each_other() -> None:
    trace = written([row(number, latency=2500) for number in range(1, 40)])
    assert len(trace.slices) == 39
    assert len({track for track, *_ in trace.slices}) == 3


def test_more_slices_at_once_than_tracks_are_instants_with_a_duration() -> None:
    trace = written([row(number, latency=10**6) for number in range(1, 101)])
    instants = trace.of_type("TYPE_INSTANT")
    assert (len(trace.slices), len(instants)) == (64, 36)
    assert arguments(instants[0].track_event)["duration_ns"] == 10**6


def test_many_threads_have_a_track_each() -> None:
    trace = written([row(number, pid=number % 5, tid=number % 10) for number in range(100)])
    threads = [track for track in trace.tracks.values() if track.HasField("thread")]
    processes = [track for track in trace.tracks.values() if track.HasField("process")]
    assert (len(threads), len(processes)) == (10, 5)


def test_losses_are_a_counter() -> None:
    file = io.BytesIO()
    with PerfettoFile(file, EPOCHS) as out:
        out.lost("drops", 3, NOW)
        out.lost("drops", 9, NOW + 5)
    trace = Trace(file.getvalue())
    assert [packet.track_event.counter_value for packet in trace.events] == [3, 9]
    (track,) = [track for track in trace.tracks.values() if track.HasField("counter")]
    assert track.name == "drops lost"


def test_records_without_a_thread_or_a_time() -> None:
    coder = Codec.raw(8)
    trace = written([], coder)
    file = io.BytesIO()
    with PerfettoFile(file, EPOCHS) as out:
        from bpfctl.btf.array import from_bytes

        out.write("ticks", coder, from_bytes(bytes(range(16)), coder), NOW, cpu=3)
    trace = Trace(file.getvalue())
    assert [packet.timestamp for packet in trace.events] == [NOW, NOW]
    assert {packet.timestamp_clock_id for packet in trace.events} == {Clock.REALTIME}
    track = trace.tracks[trace.events[0].track_event.track_uuid]
    assert track.name == "ticks"
    assert arguments(trace.events[1].track_event) == {"value": 0x0F0E0D0C0B0A0908, "cpu": 3}


@pytest.mark.parametrize(
    ("ago", "clock"),
    [
        (NOW - 5, Clock.REALTIME),
        (1000 * 10**9 - 5, Clock.MONOTONIC),
        (5000 * 10**9 - 5, Clock.BOOTTIME),
        (NOW // 2, None),
        (2**64 - 1, None),
    ],
)
def test_the_clock_is_the_one_that_fits(ago: int, clock: Clock | None) -> None:
    assert EPOCHS.clock_of(ago, NOW) == clock


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (["ts", "dur_us"], ("ts", "dur_us", None)),
        (["start_ns", "end_ns"], ("start_ns", None, "end_ns")),
        (["start_ts", "latency"], ("start_ts", "latency", None)),
        (["timestamp_ns", "bytes"], ("timestamp_ns", None, None)),
        (["count", "bytes"], (None, None, None)),
        (["tgid", "pid"], (None, None, None)),
    ],
)
def test_names_tell_what_fields_mean(
    members: list[str], told: tuple[str | None, str | None, str | None]
) -> None:
    blob = Blob()
    u64 = blob.integer("__u64", 8)
    event = blob.struct(
        "event", 8 * len(members), [(name, u64, 64 * at) for at, name in enumerate(members)]
    )
    found = meaning(Codec(blob.btf(), event))
    places = (found.time, found.duration, found.end)
    assert tuple(place.name if place else None for place in places) == told
    if "tgid" in members:
        assert found.process is not None
        assert found.thread is not None
        assert (found.process.name, found.thread.name) == ("tgid", "pid")
    if members[0] == "start_ts":
        assert found.begins


def test_a_start_and_an_end_are_a_slice() -> None:
    blob = Blob()
    u64 = blob.integer("__u64", 8)
    event = blob.struct("io", 16, [("start_ns", u64, 0), ("end_ns", u64, 64)])
    stamp = MONOTONIC_NOW - 100
    trace = written([{"start_ns": stamp - 70, "end_ns": stamp}], Codec(blob.btf(), event))
    ((track, begin, end, found),) = trace.slices
    assert (begin, end, found.name) == (stamp - 70, stamp, "io")
    assert trace.tracks[trace.tracks[track].parent_uuid].name == "drops"
