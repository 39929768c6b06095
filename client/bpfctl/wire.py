# SPDX-License-Identifier: Apache-2.0
"""Bulk messages read from protobuf's wire format without copying their payload.

The generated classes copy every `bytes` field out of the message that gRPC received.
These readers keep it as a memoryview of that message, which numpy takes as it is. They
accept whatever a protobuf encoder may write: any order of fields, fields that they do not
know, fields given twice (the last one counts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError

from bpfd.v1 import common_pb2, events_pb2, maps_pb2

_EMPTY = memoryview(b"")


@dataclass(slots=True)
class EventBatch:
    """`bpfd.v1.EventBatch`; `data` is a view of the received message."""

    sequence: int = 0
    count: int = 0
    record_size: int = 0
    """Bytes of every record without header and padding; 0: they differ."""
    data: memoryview = _EMPTY
    lost_kernel: int = 0
    lost_daemon: int = 0
    lost_network: int = 0
    read_at_ns: int = 0
    """Nanoseconds since 1970."""
    cpu: int | None = None

    @property
    def stride(self) -> int:
        """Bytes from one record's header to the next one's; 0: the records differ."""
        return (self.record_size + 15) // 8 * 8 if self.record_size else 0


@dataclass(slots=True)
class DumpChunk:
    """`bpfd.v1.DumpChunk`; `keys` and `values` are views of the received message."""

    keys: memoryview = _EMPTY
    values: memoryview = _EMPTY
    count: int = 0
    map: common_pb2.KernelMap | None = None
    repeats: bool = False
    key_refs: list[maps_pb2.KeyRef] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def _varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than ten bytes")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and contents of the fields; groups, which proto3 has not, are refused."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            number, at = _varint(message, at)
            yield field, number
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} is unknown")
        if at + size > end:
            raise ValueError("the message ends within a field")
        yield field, message[at : at + size]
        at += size


def _numbers(content: int | memoryview) -> dict[int, int]:
    """The varint fields of a nested message."""
    if isinstance(content, int):
        return {}
    return {field: number for field, number in _fields(content) if isinstance(number, int)}


def _signed(number: int, bits: int) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> bits - 1 else number


def event_batch(message: bytes) -> EventBatch:
    """Reads a serialized `EventBatch`. Raises ValueError on what is none."""
    batch = EventBatch()
    try:
        for field, content in _fields(memoryview(message)):
            if isinstance(content, int):
                if field == 1:
                    batch.sequence = content
                elif field == 2:
                    batch.count = content & 0xFFFFFFFF
                elif field == 3:
                    batch.record_size = content & 0xFFFFFFFF
                elif field == 7:
                    batch.cpu = content & 0xFFFFFFFF
            elif field == 4:
                batch.data = content
            elif field == 5:
                lost = _numbers(content)
                batch.lost_kernel = lost.get(1, batch.lost_kernel)
                batch.lost_daemon = lost.get(2, batch.lost_daemon)
                batch.lost_network = lost.get(3, batch.lost_network)
            elif field == 6:
                time = _numbers(content)
                seconds, nanos = _signed(time.get(1, 0), 64), _signed(time.get(2, 0), 32)
                batch.read_at_ns = seconds * 1_000_000_000 + nanos
    except IndexError:
        raise ValueError("the message ends within a number") from None
    return batch


def dump_chunk(message: bytes) -> DumpChunk:
    """Reads a serialized `DumpChunk`. Raises ValueError on what is none."""
    chunk = DumpChunk()
    try:
        for number, content in _fields(memoryview(message)):
            if isinstance(content, int):
                if number == 3:
                    chunk.count = content & 0xFFFFFFFF
                elif number == 5:
                    chunk.repeats = bool(content)
            elif number == 1:
                chunk.keys = content
            elif number == 2:
                chunk.values = content
            elif number == 4:
                chunk.map = common_pb2.KernelMap.FromString(bytes(content))
            elif number == 6:
                chunk.key_refs.append(maps_pb2.KeyRef.FromString(bytes(content)))
            elif number == 7:
                chunk.names.append(bytes(content).decode(errors="replace"))
    except IndexError:
        raise ValueError("the message ends within a number") from None
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return chunk


def subscribe(
    channel: grpc.Channel,
) -> grpc.UnaryStreamMultiCallable[events_pb2.SubscribeRequest, EventBatch]:
    """`Events.Subscribe` on a channel, with `event_batch` as its reader."""
    return channel.unary_stream(
        "/bpfd.v1.Events/Subscribe",
        request_serializer=events_pb2.SubscribeRequest.SerializeToString,
        response_deserializer=event_batch,
    )


def dump(
    channel: grpc.Channel,
) -> grpc.UnaryStreamMultiCallable[maps_pb2.DumpRequest, DumpChunk]:
    """`Maps.Dump` on a channel, with `dump_chunk` as its reader."""
    return channel.unary_stream(
        "/bpfd.v1.Maps/Dump",
        request_serializer=maps_pb2.DumpRequest.SerializeToString,
        response_deserializer=dump_chunk,
    )
