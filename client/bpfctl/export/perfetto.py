# SPDX-License-Identifier: Apache-2.0
"""Records into a trace that ui.perfetto.dev and trace_processor open.

A record with a duration is a slice, any other one an instant, on the track of its thread; what
has no thread is on a track of its ring. Timestamps are the kernel's where a field has them
(clock snapshots relate them to real time), else the time at which the daemon read them. Slices
of one thread that overlap lie on tracks beside each other.

The file is a sequence of packets (protos/perfetto/trace/trace.proto): it can be read at any
moment while it grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from bpfctl.btf import array as arrays
from bpfctl.export import needed
from bpfctl.export.timing import Clock, Epochs, Meaning, meaning

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array

_SEQUENCE = 1
_CLEARED = 1  # TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
_MAX_LANES = 64
"""Tracks of overlapping slices beside each other for one thread; more are instants."""


@dataclass
class _Lanes:
    """The tracks of the slices of one thread and ring, and when the last slice on each ends."""

    tracks: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class PerfettoFile:
    """A trace of the events of several rings; a context manager."""

    def __init__(self, file: BinaryIO, epochs: Epochs) -> None:
        """`epochs` are those of the target. The file stays open. Raises InvalidArgument
        without the package perfetto."""
        self._protos: Any = needed(
            "perfetto.protos.perfetto.trace.perfetto_trace_pb2", "perfetto"
        )
        self._file = file
        self._epochs = epochs
        self._begun = False
        self._uuid = 0
        self._processes: dict[int, int] = {}
        self._threads: dict[tuple[int, int], int] = {}
        self._lanes: dict[tuple[str, int], _Lanes] = {}
        self._rings: dict[str, int] = {}
        self._counters: dict[str, int] = {}

    def write(
        self, ring: str, codec: Codec, array: Array, read_at_ns: int, cpu: int | None = None
    ) -> None:
        """Records of a ring as `RecordReader.array` gives them, taken from it at `read_at_ns`
        (ns since 1970), from the buffer of a CPU. Raises OSError."""
        trace = self._trace(read_at_ns)
        found = meaning(codec)
        rows = arrays.rows(array, codec)
        begins, ends, clock = self._times(found, array, read_at_ns)
        count = len(rows)
        processes = found.process.values(array) if found.process else [0] * count
        threads = found.thread.values(array) if found.thread else processes
        name = codec.type_name.removeprefix("struct ") if codec.fields else ring
        for row, begin, end, process, thread in zip(
            rows, begins, ends, processes, threads, strict=True
        ):
            fields = row if isinstance(row, Mapping) else {"value": row}
            comm = str(fields.get(found.comm, ""))
            base = (
                self._thread(trace, process, thread, comm)
                if found.process
                else self._ring(trace, ring)
            )
            lane = self._lane(trace, ring, base, name, begin, end) if end > begin else None
            track = base if lane is None else lane
            event = self._event(trace, clock, begin, track, "TYPE_INSTANT")
            event.name = name
            for key, value in fields.items():
                if key not in found.names:
                    self._annotate(event.debug_annotations.add(name=key), value)
            if cpu is not None and "cpu" not in fields:
                event.debug_annotations.add(name="cpu", uint_value=cpu)
            if lane is not None:
                event.type = self._protos.TrackEvent.TYPE_SLICE_BEGIN
                self._event(trace, clock, end, track, "TYPE_SLICE_END")
            elif end > begin:
                event.debug_annotations.add(name="duration_ns", uint_value=end - begin)
        self._file.write(trace.SerializeToString())

    def lost(self, ring: str, total: int, read_at_ns: int) -> None:
        """So many records of a ring were lost until then: a counter. Raises OSError."""
        trace = self._trace(read_at_ns)
        if ring not in self._counters:
            self._counters[ring] = self._next()
            track = trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
            track.uuid, track.name = self._counters[ring], f"{ring} lost"
            track.counter.unit_name = "records"
        track = self._counters[ring]
        event = self._event(trace, Clock.REALTIME, read_at_ns, track, "TYPE_COUNTER")
        event.counter_value = total
        self._file.write(trace.SerializeToString())

    def close(self) -> None:
        """Flush what was written. Raises OSError."""
        self._file.flush()

    def __enter__(self) -> PerfettoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _trace(self, now: int) -> Any:
        """The packets of one call; the first ones say how the clocks stand to each other."""
        trace = self._protos.Trace()
        if not self._begun:
            self._begun = True
            packet = trace.packet.add(
                trusted_packet_sequence_id=_SEQUENCE, sequence_flags=_CLEARED
            )
            packet.clock_snapshot.primary_trace_clock = Clock.BOOTTIME
            for clock in (Clock.BOOTTIME, Clock.MONOTONIC, Clock.REALTIME):
                packet.clock_snapshot.clocks.add(
                    clock_id=clock, timestamp=max(0, now - self._epochs.of(clock))
                )
        return trace

    def _times(
        self, found: Meaning, array: Array, read_at: int
    ) -> tuple[list[int], list[int], Clock]:
        """When each record began and ended (the same: it has no duration), by which clock."""
        clock: Clock | None = None
        times = [read_at] * len(array)
        if found.time is not None and len(array):
            stamps = found.time.values(array)
            last = found.end.values(array) if found.end else stamps
            clock = self._epochs.clock_of(last[-1], read_at)
            if clock is not None:
                times = stamps
        if clock is None:
            clock = Clock.REALTIME
        elif found.end is not None:
            return times, [max(*pair) for pair in zip(times, last, strict=True)], clock
        if found.duration is None:
            return times, times, clock
        durations = [max(0, value) for value in found.duration.values(array)]
        if found.begins and clock is not Clock.REALTIME:
            ends = [a + b for a, b in zip(times, durations, strict=True)]
            return times, ends, clock
        begins = [max(0, a - b) for a, b in zip(times, durations, strict=True)]
        return begins, times, clock

    def _next(self) -> int:
        self._uuid += 1
        return self._uuid

    def _event(self, trace: Any, clock: Clock, time: int, track: int, kind: str) -> Any:
        packet = trace.packet.add(
            timestamp=max(0, time),
            timestamp_clock_id=clock,
            trusted_packet_sequence_id=_SEQUENCE,
        )
        packet.track_event.type = getattr(self._protos.TrackEvent, kind)
        packet.track_event.track_uuid = track
        return packet.track_event

    def _thread(self, trace: Any, process: int, thread: int, comm: str) -> int:
        key = (process, thread)
        if key in self._threads:
            return self._threads[key]
        if process not in self._processes:
            self._processes[process] = self._next()
            track = trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
            track.uuid = self._processes[process]
            track.process.pid = _int32(process)
            if comm:
                track.process.process_name = comm
        self._threads[key] = self._next()
        track = trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
        track.uuid, track.parent_uuid = self._threads[key], self._processes[process]
        track.thread.pid, track.thread.tid = _int32(process), _int32(thread)
        if comm:
            track.thread.thread_name = comm
        return self._threads[key]

    def _ring(self, trace: Any, ring: str) -> int:
        if ring not in self._rings:
            self._rings[ring] = self._track(trace, ring, 0)
        return self._rings[ring]

    def _track(self, trace: Any, name: str, parent: int) -> int:
        track = trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
        track.uuid, track.name = self._next(), name
        if parent:
            track.parent_uuid = parent
        uuid: int = track.uuid
        return uuid

    def _lane(
        self, trace: Any, ring: str, base: int, name: str, begin: int, end: int
    ) -> int | None:
        """A track below `base` on which nothing else is at that time."""
        lanes = self._lanes.setdefault((ring, base), _Lanes())
        for index, busy in enumerate(lanes.ends):
            if busy <= begin:
                lanes.ends[index] = end
                return lanes.tracks[index]
        if len(lanes.tracks) == _MAX_LANES:
            return None
        lanes.tracks.append(self._track(trace, name, base))
        lanes.ends.append(end)
        return lanes.tracks[-1]

    def _annotate(self, annotation: Any, value: object) -> None:
        if isinstance(value, bool):
            annotation.bool_value = value
        elif isinstance(value, int):
            if -(1 << 63) <= value < 1 << 63:
                annotation.int_value = value
            elif 0 <= value < 1 << 64:
                annotation.uint_value = value
            else:
                annotation.string_value = str(value)
        elif isinstance(value, float):
            annotation.double_value = value
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                self._annotate(annotation.dict_entries.add(name=str(key)), inner)
        elif isinstance(value, list):
            for inner in value:
                self._annotate(annotation.array_values.add(), inner)
        elif value is not None:
            annotation.string_value = str(value)


def _int32(number: int) -> int:
    """A process id: damaged ones fit, too."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)
