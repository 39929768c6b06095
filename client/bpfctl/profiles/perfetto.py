# SPDX-License-Identifier: Apache-2.0
"""A profile as a trace that ui.perfetto.dev opens: each process a track, functions are slices.

Stacks were counted, so nobody knows when each was: slices have the length of what was summed
and stand in order of their names. The first track says so, and what was missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpfctl.errors import InvalidArgument
from bpfctl.printable import printable
from bpfctl.profiles import amounts, pruned
from bpfctl.profiles.tree import FlameGraph, Node

MAX_NODES = 200_000

_SEQUENCE = 1
_CLEARED = 1  # TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
_HEAD = 1
_LAST = (1 << 63) - 1
_PARTS = 1000
"""Packets that are written at once."""


def protos() -> Any:
    """Perfetto's messages; InvalidArgument where the package is missing."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise InvalidArgument(
            "output", "traces need the extra `export`: pip install 'bpfd[export]'"
        ) from error
    return perfetto_trace_pb2


def write(graph: FlameGraph) -> Iterator[bytes]:
    """The file in parts. Raises InvalidArgument without the package perfetto."""
    messages = protos()
    kept = pruned.prune(graph.root, MAX_NODES)
    trace = messages.Trace()
    writer = _Writer(messages, trace, _scale(graph))
    writer.head(graph, kept)
    for node in graph.root.sorted():
        if not kept.kept(node) or not node.value:
            continue
        writer.track(node)
        for _ in writer.slices(node, kept):
            if len(trace.packet) >= _PARTS:
                yield trace.SerializeToString()
                del trace.packet[:]
    yield trace.SerializeToString()


def _scale(graph: FlameGraph) -> int:
    """Nanoseconds of one of a value; of other units than time a microsecond, or less so that
    the end of the trace is one of its timestamps."""
    scale = 1000
    if graph.unit == "nanoseconds":
        scale = 1
    elif graph.unit == "samples" and graph.period:
        scale = graph.period
    return max(1, min(scale, _LAST // (graph.root.value or 1)))


class _Writer:
    def __init__(self, messages: Any, trace: Any, scale: int) -> None:
        self.messages = messages
        self.trace = trace
        self.scale = scale
        self.uuid = _HEAD
        self.left_at = 0
        """Where the next slice of the track begins."""

    def head(self, graph: FlameGraph, kept: pruned.Pruned) -> None:
        """The track with what is said of the profile."""
        packet = self._packet(0)
        packet.sequence_flags = _CLEARED
        packet.track_descriptor.uuid = _HEAD
        packet.track_descriptor.name = printable(graph.title or "Profile")
        said = [
            "Sums of stacks: lengths are times, places are not",
            *amounts.facts(graph),
            *graph.notes,
        ]
        if kept.left_out:
            said.append(f"{kept.left_out:,} of {kept.nodes:,} frames are too light to be drawn")
        if missed := amounts.missed(graph):
            said.append(missed)
        event = self._event(0, "TYPE_SLICE_BEGIN")
        event.name = printable(" | ".join(said))
        for why, count in graph.missed.items():
            event.debug_annotations.add(name=f"missed: {printable(why)}", int_value=count)
        self._event(graph.root.value * self.scale, "TYPE_SLICE_END")

    def track(self, node: Node) -> None:
        """A new track; its slices begin at 0."""
        self.uuid += 1
        self.left_at = 0
        track = self._packet(0).track_descriptor
        track.uuid, track.name = self.uuid, printable(node.function.name)

    def slices(self, root: Node, kept: pruned.Pruned) -> Iterator[None]:
        """Those of a node and of what it called, one after the other."""
        open_at: list[int] = []
        for depth, node in pruned.walk(root, lambda node: kept.kept(node) and node.value > 0):
            while len(open_at) > depth:
                self._end(open_at.pop())
            begin = self.left_at
            open_at.append(begin + node.value * self.scale)
            event = self._event(begin, "TYPE_SLICE_BEGIN")
            event.name = node.function.name
            event.categories.append(node.function.kind)
            for key, text in (("module", node.function.module), ("place", node.place)):
                if text:
                    event.debug_annotations.add(name=key, string_value=printable(text))
            event.debug_annotations.add(name="self", int_value=node.own)
            yield
        while open_at:
            self._end(open_at.pop())

    def _end(self, at: int) -> None:
        self._event(at, "TYPE_SLICE_END")
        self.left_at = at

    def _event(self, at: int, kind: str) -> Any:
        event = self._packet(at).track_event
        event.type = getattr(self.messages.TrackEvent, kind)
        event.track_uuid = self.uuid
        return event

    def _packet(self, at: int) -> Any:
        packet = self.trace.packet.add()
        packet.timestamp = at
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet
