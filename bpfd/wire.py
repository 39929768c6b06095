# SPDX-License-Identifier: Apache-2.0
"""Bulk messages in protobuf's wire format, written with one copy of the payload.

The generated classes copy a `bytes` field twice (into the message, then into its
serialization), which costs more than everything else that happens to a batch on its way.
gRPC takes any function as a serializer, so the few messages that carry bulk data are
encoded here: the small fields first, then the payload, in one `join`. Protobuf parsers
accept fields in any order; the generated classes read what is written here and a test
proves it. See docs/design/006-bulk-streams.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bpfd.v1 import events_pb2, maps_pb2

Bytes = bytes | bytearray | memoryview


def varint(number: int) -> bytes:
    """Base 128, least significant group first; `number` is 0 to 2**64 - 1."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, number: int) -> bytes:
    """A varint field; left out when it is 0, as proto3 has it."""
    return varint(field << 3) + varint(number) if number else b""


def _message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def _payload(field: int, parts: Sequence[Bytes]) -> list[Bytes]:
    """A bytes field whose content is in several parts; left out when empty."""
    size = sum(map(len, parts))
    return [varint(field << 3 | 2) + varint(size), *parts] if size else []


def event_batch(
    data: Sequence[Bytes],
    *,
    sequence: int,
    count: int,
    record_size: int,
    lost_kernel: int,
    lost_daemon: int,
    read_at_ns: int,
    cpu: int | None = None,
) -> bytes:
    """A serialized `EventBatch`; `data` is copied once. `read_at_ns` is since 1970."""
    seconds, nanos = divmod(read_at_ns, 1_000_000_000)
    head = (
        _number(1, sequence)
        + _number(2, count)
        + _number(3, record_size)
        + _message(5, _number(1, lost_kernel) + _number(2, lost_daemon))
        + _message(6, _number(1, seconds) + _number(2, nanos))
    )
    if cpu is not None:
        head += varint(7 << 3) + varint(cpu)
    return b"".join((head, *_payload(4, data)))


def dump_chunk(
    keys: Bytes,
    values: Bytes,
    count: int,
    *,
    map_info: bytes = b"",
    repeats: bool = False,
) -> bytes:
    """A serialized `DumpChunk`; `map_info` is a serialized `KernelMap`, empty: none."""
    head = _number(3, count) + (_message(4, map_info) if map_info else b"")
    head += _number(5, int(repeats))
    return b"".join((head, *_payload(1, (keys,)), *_payload(2, (values,))))


def _or_encoded(message: type[Any]) -> Callable[[Any], bytes]:
    serialize: Callable[[Any], bytes] = message.SerializeToString

    def serializer(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return serializer


SERIALIZERS: dict[str, Callable[[Any], bytes]] = {
    "/bpfd.v1.Events/Subscribe": _or_encoded(events_pb2.EventBatch),
    "/bpfd.v1.Maps/Dump": _or_encoded(maps_pb2.DumpChunk),
}
"""Calls whose handlers may yield bytes that are encoded already, by their gRPC path."""
