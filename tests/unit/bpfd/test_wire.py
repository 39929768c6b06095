# SPDX-License-Identifier: Apache-2.0
"""What bpfd.wire writes, the generated classes and bpfctl.wire read, and the other way."""

from __future__ import annotations

import pytest
from bpfctl import wire as client_wire
from hypothesis import given
from hypothesis import strategies as st

from bpfd import wire
from bpfd.v1 import common_pb2, events_pb2, maps_pb2

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)


@given(
    st.lists(st.binary(max_size=300), max_size=3),
    u64,
    u32,
    u32,
    u64,
    u64,
    st.integers(0, 2**62),
    st.none() | u32,
)
def test_event_batch_is_read_by_both(
    parts: list[bytes],
    sequence: int,
    count: int,
    record_size: int,
    kernel: int,
    daemon: int,
    read_at: int,
    cpu: int | None,
) -> None:
    message = wire.event_batch(
        [memoryview(part) for part in parts],
        sequence=sequence,
        count=count,
        record_size=record_size,
        lost_kernel=kernel,
        lost_daemon=daemon,
        read_at_ns=read_at,
        cpu=cpu,
    )
    batch = events_pb2.EventBatch.FromString(message)
    assert batch.data == b"".join(parts)
    assert (batch.sequence, batch.count, batch.record_size) == (sequence, count, record_size)
    assert (batch.losses.kernel, batch.losses.daemon) == (kernel, daemon)
    assert batch.HasField("losses")
    assert batch.read_at.ToNanoseconds() == read_at
    assert batch.HasField("cpu") == (cpu is not None)
    assert batch.cpu == (cpu or 0)
    read = client_wire.event_batch(message)
    assert bytes(read.data) == b"".join(parts)
    assert (read.sequence, read.count, read.record_size) == (sequence, count, record_size)
    assert (read.lost_kernel, read.lost_daemon, read.cpu) == (kernel, daemon, cpu)
    assert read.read_at_ns == read_at
    assert client_wire.event_batch(batch.SerializeToString()) == read


@given(st.binary(max_size=300), st.binary(max_size=300), u32, st.booleans(), st.booleans())
def test_dump_chunk_is_read_by_both(
    keys: bytes, values: bytes, count: int, repeats: bool, with_map: bool
) -> None:
    info = common_pb2.KernelMap(id=7, name="counts", key_size=4)
    message = wire.dump_chunk(
        memoryview(keys),
        memoryview(values),
        count,
        map_info=info.SerializeToString() if with_map else b"",
        repeats=repeats,
    )
    chunk = maps_pb2.DumpChunk.FromString(message)
    assert (chunk.keys, chunk.values, chunk.count) == (keys, values, count)
    assert (chunk.repeats, chunk.HasField("map")) == (repeats, with_map)
    for encoded in (message, chunk.SerializeToString()):
        read = client_wire.dump_chunk(encoded)
        assert (bytes(read.keys), bytes(read.values), read.count) == (keys, values, count)
        assert read.repeats == repeats
        assert read.map == (info if with_map else None)


@given(st.binary(max_size=200))
def test_reader_refuses_or_reads_whatever_comes(message: bytes) -> None:
    for read in (client_wire.event_batch, client_wire.dump_chunk):
        try:
            result = read(message)
        except ValueError:
            continue
        assert result is not None


def test_reader_skips_fields_of_the_future() -> None:
    message = wire.event_batch(
        [b"abcd"],
        sequence=1,
        count=2,
        record_size=3,
        lost_kernel=0,
        lost_daemon=0,
        read_at_ns=0,
    )
    future = b"\xfa\x01\x03xyz" + b"\xf8\x01\x05" + b"\xfd\x01aaaa" + b"\xf9\x01bbbbbbbb"
    read = client_wire.event_batch(future + message)
    assert bytes(read.data) == b"abcd"
    assert read.count == 2


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_a_cut_message_is_refused(cut: int) -> None:
    message = wire.event_batch(
        [b"x" * 50],
        sequence=1,
        count=2,
        record_size=3,
        lost_kernel=0,
        lost_daemon=0,
        read_at_ns=0,
    )
    with pytest.raises(ValueError, match="ends within"):
        client_wire.event_batch(message[:-cut])


def test_serializers_take_messages_and_bytes() -> None:
    batch = events_pb2.EventBatch(count=3)
    serializer = wire.SERIALIZERS["/bpfd.v1.Events/Subscribe"]
    assert serializer(batch) == batch.SerializeToString()
    assert serializer(b"encoded") == b"encoded"
