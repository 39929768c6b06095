# SPDX-License-Identifier: Apache-2.0
"""Maps of every kind, read and written through the daemon's API."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from bpfctl import wire
from google.protobuf.duration_pb2 import Duration

from bpfd.kernel import info, map_io, map_split, syscall
from bpfd.kernel.constants import MapType
from bpfd.kernel.cpus import possible_count
from bpfd.v1 import common_pb2, maps_pb2, objects_pb2
from tests.kernel.api import Api, eventually, map_ref, refused
from tests.kernel.conftest import RunningDaemon

CPUS = possible_count()
Make = Callable[..., "Map"]


class Map:
    """A map of this process, that the daemon knows by its id."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        about = info.map_info(fd)
        self.id = int(about.id)
        self.ref = common_pb2.MapRef(id=self.id)
        self.shape = map_io.shape(about)


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:

        def make_map(kind: int, key: int, value: int, entries: int, **fields: Any) -> Map:
            fd = syscall.map_create(kind, key, value, entries, name="ev_test", **fields)
            stack.callback(os.close, fd)
            return Map(fd)

        yield make_map


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


def u32(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)


def update(api: Api, target: Map, keys: bytes, values: bytes, **fields: Any) -> int:
    request = maps_pb2.UpdateRequest(map=target.ref, keys=keys, values=values, **fields)
    return api.maps.Update(request).updated


def dump(channel: grpc.Channel, ref: common_pb2.MapRef, **fields: Any) -> list[wire.DumpChunk]:
    return list(wire.dump(channel)(maps_pb2.DumpRequest(map=ref, **fields)))


def entries(chunks: list[wire.DumpChunk]) -> dict[bytes, bytes]:
    about = chunks[0].map
    assert about is not None
    width = about.value_size
    if about.percpu_count:
        width = about.percpu_count * about.percpu_stride
    found: dict[bytes, bytes] = {}
    for chunk in chunks:
        size = about.key_size
        for index in range(chunk.count):
            key = bytes(chunk.keys[index * size : (index + 1) * size])
            assert key not in found
            found[key] = bytes(chunk.values[index * width : (index + 1) * width])
    return found


HASHES = [MapType.HASH, MapType.LRU_HASH, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH]


@pytest.mark.parametrize("kind", HASHES, ids=lambda kind: kind.name)
def test_hashes(api: Api, channel: grpc.Channel, make: Make, kind: MapType) -> None:
    target = make(kind, 4, 8, 4096)
    width = target.shape.value_size
    keys = u32(*range(1000))
    values = b"".join(u64(*[number] * (width // 8)) for number in range(1000))
    assert update(api, target, keys, values) == 1000
    found = api.maps.Lookup(maps_pb2.LookupRequest(map=target.ref, keys=u32(5, 5000, 7)))
    assert found.found == b"\1\0\1"
    assert found.values == values[5 * width : 6 * width] + values[7 * width : 8 * width]
    assert found.value_stride == width
    assert entries(dump(channel, target.ref)) == {
        u32(number): values[number * width : (number + 1) * width] for number in range(1000)
    }
    request = maps_pb2.DeleteRequest(map=target.ref, keys=u32(1, 9999, 2, 9998, 9997, 3))
    reply = api.maps.Delete(request)
    assert (reply.deleted, reply.missing) == (3, 3)
    reply = api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref, all=True))
    assert reply.deleted == 997
    assert entries(dump(channel, target.ref)) == {}


@pytest.mark.parametrize(
    "kind", [MapType.ARRAY, MapType.PERCPU_ARRAY], ids=lambda kind: kind.name
)
def test_arrays_skip_nothing(
    api: Api, channel: grpc.Channel, make: Make, kind: MapType
) -> None:
    target = make(kind, 4, 12, 100)
    width = target.shape.value_size
    assert width == (12 if kind == MapType.ARRAY else 16 * CPUS)
    value = (
        bytes(range(1, width + 1)) if kind == MapType.ARRAY else (b"x" * 12 + bytes(4)) * CPUS
    )
    assert update(api, target, u32(99), value) == 1
    found = entries(dump(channel, target.ref, chunk_entries=7))
    assert list(found) == [u32(number) for number in range(100)]
    assert found[u32(99)] == value
    assert found[u32(0)] == bytes(width)
    with refused("invalid_argument") as refusal:
        update(api, target, u32(1, 100), value * 2)
    assert "index 100 is beyond the last one" in refusal.text
    assert entries(dump(channel, target.ref))[u32(1)] == bytes(width)
    with refused("invalid_argument") as refusal:
        api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref, keys=u32(1)))
    assert "array" in refusal.text


def test_lpm_trie(api: Api, channel: grpc.Channel, make: Make) -> None:
    target = make(MapType.LPM_TRIE, 8, 4, 100, flags=1)
    prefixes = [(8, "10.0.0.0"), (16, "10.1.0.0"), (24, "10.1.2.0"), (0, "0.0.0.0")]
    keys = [u32(bits) + socket.inet_aton(address) for bits, address in prefixes]
    assert update(api, target, b"".join(keys), u32(*range(4))) == 4
    assert entries(dump(channel, target.ref)) == {
        key: u32(number) for number, key in enumerate(keys)
    }
    best = api.maps.Lookup(
        maps_pb2.LookupRequest(map=target.ref, keys=u32(32) + socket.inet_aton("10.1.2.3"))
    )
    assert best.values == u32(2)
    with refused("invalid_argument") as refusal:
        update(api, target, u32(33) + bytes(4), u32(1))
    assert "a prefix of 33 bits" in refusal.text
    reply = api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref, all=True))
    assert reply.deleted == 4


@pytest.mark.parametrize(
    ("kind", "order"), [(MapType.QUEUE, [1, 2, 3]), (MapType.STACK, [3, 2, 1])]
)
def test_queues_and_stacks(api: Api, make: Make, kind: MapType, order: list[int]) -> None:
    target = make(kind, 0, 8, 3)
    assert update(api, target, b"", u64(1, 2, 3)) == 3
    for values in (b"", b"1234"):
        with refused("invalid_argument"):
            update(api, target, b"", values)
    with refused("limit_exceeded") as refusal:
        update(api, target, b"", u64(4))
    assert refusal.detail.limit == 3
    peek = maps_pb2.LookupRequest(map=target.ref)
    assert api.maps.Lookup(peek).values == u64(order[0])
    pop = maps_pb2.LookupRequest(map=target.ref, delete=True, pop=2)
    assert api.maps.Lookup(pop).values == u64(*order[:2])
    assert api.maps.Lookup(
        maps_pb2.LookupRequest(map=target.ref, delete=True, pop=9)
    ).values == u64(order[2])
    assert api.maps.Lookup(peek).found == b""
    with refused("invalid_argument"):
        dump(api.channel, target.ref)


def test_full_map_says_how_far_it_got(api: Api, channel: grpc.Channel, make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 10)
    with refused("limit_exceeded") as refusal:
        update(api, target, u32(*range(20)), u64(*range(20)))
    assert (refusal.detail.what, refusal.detail.limit) == ("map ev_test", 10)
    assert refusal.detail.done == len(entries(dump(channel, target.ref)))
    assert refusal.detail.done >= 10


def test_modes(api: Api, channel: grpc.Channel, make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 10)
    create, replace = maps_pb2.UPDATE_MODE_CREATE, maps_pb2.UPDATE_MODE_REPLACE
    assert update(api, target, u32(1, 2), u64(1, 2), mode=create) == 2
    with refused("invalid_argument") as refusal:
        update(api, target, u32(3, 2), u64(9, 9), mode=create)
    assert "exists" in refusal.text
    assert "1 entries before it" in refusal.text
    with refused("not_found"):
        update(api, target, u32(7), u64(7), mode=replace)
    assert update(api, target, u32(1), u64(8), mode=replace) == 1
    assert entries(dump(channel, target.ref)) == {
        u32(1): u64(8),
        u32(2): u64(2),
        u32(3): u64(9),
    }


def test_lookup_can_take_entries_out(api: Api, channel: grpc.Channel, make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 10)
    update(api, target, u32(1, 2), u64(11, 12))
    reply = api.maps.Lookup(maps_pb2.LookupRequest(map=target.ref, keys=u32(1, 5), delete=True))
    assert (reply.found, reply.values) == (b"\1\0", u64(11))
    assert entries(dump(channel, target.ref)) == {u32(2): u64(12)}


def test_wrong_sizes_are_refused_before_anything_is_done(
    api: Api, channel: grpc.Channel, make: Make
) -> None:
    target = make(MapType.HASH, 4, 8, 10)
    for keys, values, field in (
        (b"abc", u64(1), "keys"),
        (b"", u64(1), "keys"),
        (u32(1, 2), u64(1), "values"),
        (u32(1), b"", "values"),
        (u32(1), u64(1, 2), "values"),
    ):
        with refused("invalid_argument") as refusal:
            update(api, target, keys, values)
        assert refusal.detail.field == field
        assert "bytes" in refusal.text
    percpu = make(MapType.PERCPU_HASH, 4, 12, 10)
    with refused("invalid_argument") as refusal:
        update(api, percpu, u32(1), bytes(12))
    assert f"{CPUS} CPUs of 16" in refusal.text
    with refused("invalid_argument"):
        api.maps.Lookup(maps_pb2.LookupRequest(map=target.ref, keys=b"12345"))
    with refused("invalid_argument"):
        api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref))
    with refused("invalid_argument"):
        api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref, keys=u32(1), all=True))
    with refused("invalid_argument"):
        update(api, target, u32(1), u64(1), flags=1)
    with refused("limit_exceeded"):
        api.maps.Lookup(maps_pb2.LookupRequest(map=target.ref, keys=bytes(4 * (1 << 20) + 4)))
    with refused("limit_exceeded"):
        huge = make(MapType.HASH, 4, 65536, 1)
        api.maps.Lookup(maps_pb2.LookupRequest(map=huge.ref, keys=bytes(4 * 600)))
    assert entries(dump(channel, target.ref)) == {}


def test_frozen_map(api: Api, make: Make) -> None:
    target = make(MapType.ARRAY, 4, 8, 1)
    syscall.map_freeze(target.fd)
    assert api.maps.Get(maps_pb2.GetMapRequest(map=target.ref)).frozen
    with refused("invalid_argument") as refusal:
        update(api, target, u32(0), u64(1))
    assert "frozen" in refusal.text


def test_maps_without_entries(api: Api, make: Make) -> None:
    ring = make(MapType.RINGBUF, 0, 0, 4096)
    for call in (
        lambda: update(api, ring, b"", b""),
        lambda: dump(api.channel, ring.ref),
        lambda: api.maps.Lookup(maps_pb2.LookupRequest(map=ring.ref, keys=u32(0))),
        lambda: api.maps.Delete(maps_pb2.DeleteRequest(map=ring.ref, all=True)),
    ):
        with refused("not_supported") as refusal:
            call()
        assert "Events.Subscribe" in refusal.text


def test_references(api: Api, channel: grpc.Channel, make: Make) -> None:
    inner = make(MapType.ARRAY, 4, 8, 1)
    outer = make(MapType.HASH_OF_MAPS, 4, 4, 3, inner_map_fd=inner.fd)
    refs = [maps_pb2.ValueRef(map=inner.ref)]
    assert update(api, outer, u32(7), b"", refs=refs) == 1
    assert entries(dump(channel, outer.ref)) == {u32(7): u32(inner.id)}
    with refused("invalid_argument") as refusal:
        update(api, outer, u32(8), u32(inner.fd))
    assert refusal.detail.field == "refs"
    with refused("invalid_argument"):
        update(api, outer, u32(8), b"", refs=refs * 2)
    with refused("not_found"):
        missing = maps_pb2.ValueRef(map=common_pb2.MapRef(id=2**31))
        update(api, outer, u32(8), b"", refs=[missing])
    with refused("invalid_argument"):
        update(api, inner, u32(0), b"", refs=refs)


def test_iteration_without_batches(api: Api, channel: grpc.Channel, make: Make) -> None:
    """A program array has no batches, and its empty slots are left out."""
    target = make(MapType.PROG_ARRAY, 4, 4, 1000)
    assert entries(dump(channel, target.ref)) == {}
    xsk = make(MapType.DEVMAP, 4, 4, 100)
    update(api, xsk, u32(3, 50), u32(1, 1))
    assert entries(dump(channel, xsk.ref)) == {u32(3): u32(1), u32(50): u32(1)}


def test_iteration_that_starts_again_says_so(make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 100)
    map_io.update(target.fd, target.shape, u32(*range(50)), bytes(400), 0)
    seen: list[bytes] = []
    repeats = False
    for chunk in map_io._read_each(target.fd, target.shape, 1):
        seen.append(bytes(chunk.keys))
        repeats = repeats or chunk.repeats
        if len(seen) == 5:
            syscall.map_delete_elem(target.fd, seen[-1])
    assert repeats
    assert len(set(seen)) == 50


def test_large_hash_is_read_in_parts_each_entry_once(channel: grpc.Channel, make: Make) -> None:
    number = 100_000
    target = make(MapType.HASH, 8, 8, 1 << 17)
    keys = u64(*range(number))
    assert map_io.update(target.fd, target.shape, keys, keys, 0) == (number, 0)
    for count in (1, 2, 3, 7):
        parts = map_split.parts(target.fd, target.shape, 5000, count)
        assert len(parts) == (count if count > 1 else 0)
        found = [bytes(chunk.keys) for part in reversed(parts) for chunk in part.read()]
        together = b"".join(found)
        assert count == 1 or sorted(memoryview(together).cast("Q")) == list(range(number))
    chunks = dump(channel, target.ref)
    assert sum(chunk.count for chunk in chunks) == number
    both = entries(chunks)
    assert len(both) == number
    assert all(key == value for key, value in both.items())


@pytest.mark.parametrize("kind", HASHES, ids=lambda kind: kind.name)
def test_places_of_hashes_are_proven(kind: MapType) -> None:
    map_split._proven.clear()
    assert map_split.splittable(kind)
    assert not map_split.splittable(MapType.ARRAY)


def test_crowded_buckets_make_the_batch_grow(make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 1000)
    map_io.update(target.fd, target.shape, u32(*range(1000)), u64(*range(1000)), 0)
    found = b"".join(bytes(c.keys) for c in map_io.read(target.fd, target.shape, 1))
    assert sorted(memoryview(found).cast("I")) == list(range(1000))


def test_client_that_leaves_ends_the_dump(
    daemon: RunningDaemon, channel: grpc.Channel, make: Make
) -> None:
    target = make(MapType.ARRAY, 4, 4096, 50_000)
    call = wire.dump(channel)(maps_pb2.DumpRequest(map=target.ref))
    assert next(call).map is not None
    assert next(call).count > 0
    call.cancel()
    folder = f"/proc/{daemon.pid}/fd"

    def held() -> bool:
        return any(_is(f"{folder}/{fd}", target.id) for fd in os.listdir(folder))

    assert eventually(lambda: not held())


def _is(path: str, number: int) -> bool:
    try:
        with open(path.replace("/fd/", "/fdinfo/")) as file:
            return f"map_id:\t{number}\n" in file.read()
    except FileNotFoundError:
        return False


def test_watch_shows_changes(api: Api, make: Make) -> None:
    target = make(MapType.HASH, 4, 8, 10)
    update(api, target, u32(1), u64(1))
    request = maps_pb2.WatchRequest(map=target.ref, interval=Duration(nanos=10_000_000))
    stream = api.maps.Watch(request, timeout=20)
    assert next(stream).map.id == target.id
    chunk = next(stream)
    assert (chunk.keys, chunk.values) == (u32(1), u64(1))
    update(api, target, u32(1, 2), u64(1, 5))
    chunk = next(stream)
    assert (chunk.keys, chunk.values, chunk.deleted_keys) == (u32(2), u64(5), b"")
    api.maps.Delete(maps_pb2.DeleteRequest(map=target.ref, keys=u32(1)))
    chunk = next(stream)
    assert (chunk.keys, chunk.deleted_keys) == (b"", u32(1))
    stream.cancel()
    some = api.maps.Watch(
        maps_pb2.WatchRequest(
            map=target.ref, keys=u32(2, 3), interval=Duration(nanos=10_000_000)
        )
    )
    next(some)
    assert next(some).keys == u32(2)
    some.cancel()
    with refused("invalid_argument"):
        next(api.maps.Watch(maps_pb2.WatchRequest(map=target.ref, interval=Duration(nanos=1))))


def test_list_shows_foreign_maps_and_who_holds_them(
    api: Api, make: Make, daemon: RunningDaemon
) -> None:
    target = make(MapType.PERCPU_HASH, 4, 12, 10)
    path = f"{daemon.bpffs}/ev_pin"
    syscall.obj_pin(target.fd, path)
    request = maps_pb2.ListMapsRequest(owners=True, types=[common_pb2.MAP_TYPE_PERCPU_HASH])
    found = {each.id: each for each in api.maps.List(request).maps}[target.id]
    assert (found.name, found.key_size, found.value_size) == ("ev_test", 4, 12)
    assert (found.percpu_stride, found.percpu_count, found.object) == (16, CPUS, "")
    assert os.getpid() in {holder.pid for holder in found.holders}
    assert list(found.pinned_paths) == [path]
    assert found.bytes_memlock > 0
    assert all(
        each.type == common_pb2.MAP_TYPE_PERCPU_HASH for each in api.maps.List(request).maps
    )


def test_create_pin_and_unpin(api: Api, daemon: RunningDaemon) -> None:
    spec = objects_pb2.MapSpec(
        name="numbers", type=common_pb2.MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=5
    )
    path = f"{daemon.bpffs}/ev_numbers"
    with api.session() as lifetime:
        made = api.maps.Create(
            maps_pb2.CreateMapRequest(object="made", lifetime=lifetime, map=spec)
        )
        assert [item.name for item in made.maps] == ["numbers"]
        about = api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("made/numbers")))
        assert (about.object, about.member, about.max_entries) == ("made", "numbers", 5)
        pin = maps_pb2.PinMapRequest(map=map_ref("made/numbers"), path=path)
        api.maps.Pin(pin)
        with refused("invalid_argument"):
            api.maps.Pin(pin)
        pinned = api.maps.Get(maps_pb2.GetMapRequest(map=common_pb2.MapRef(pin_path=path)))
        assert pinned.id == about.id
        for bad in ("/tmp/ev_x", "relative", f"{daemon.bpffs}/bpfd/x", f"{daemon.bpffs}/../x"):
            with refused("invalid_argument"):
                api.maps.Pin(maps_pb2.PinMapRequest(map=map_ref("made/numbers"), path=bad))
        api.maps.Unpin(maps_pb2.UnpinMapRequest(path=path))
        assert not os.path.exists(path)
        with refused("not_found"):
            api.maps.Unpin(maps_pb2.UnpinMapRequest(path=path))


def test_unknown_maps(api: Api) -> None:
    with refused("not_found"):
        api.maps.Get(maps_pb2.GetMapRequest(map=common_pb2.MapRef(id=2**31)))
    with refused("invalid_argument"):
        api.maps.Get(maps_pb2.GetMapRequest())
