# SPDX-License-Identifier: Apache-2.0
"""Lookups and changes of map entries. Functions block: call them in worker threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.errors import InvalidArgument
from bpfd.kernel import map_io
from bpfd.kernel.constants import BPF_EXIST, BPF_NOEXIST, ENOTSUPP, MapType
from bpfd.kernel.map_io import Cancel
from bpfd.maps import references, storage
from bpfd.maps.check import KEYLESS, OpenMap, open_map
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, maps_pb2

_MODES = {
    maps_pb2.UPDATE_MODE_UNSPECIFIED: 0,
    maps_pb2.UPDATE_MODE_CREATE: BPF_NOEXIST,
    maps_pb2.UPDATE_MODE_REPLACE: BPF_EXIST,
}


@contextmanager
def opened(objects: Objects, ref: common_pb2.MapRef) -> Iterator[OpenMap]:
    """A map for the time of the `with`. Raises NotFound."""
    with objects.map_fd(ref) as fd:
        found = open_map(fd, None)
        yield open_map(fd, objects.member_of_map(found.id))


def lookup(
    objects: Objects, request: maps_pb2.LookupRequest, cancelled: Cancel
) -> maps_pb2.LookupResponse:
    """Values of keys; with `delete` they are taken out."""
    with opened(objects, request.map) as found:
        if found.shape.type in KEYLESS:
            return _pop(found, request, cancelled)
        if request.pop:
            raise InvalidArgument("pop", f"{found} is no queue and no stack; give keys")
        if request.values:
            raise InvalidArgument("values", f"{found} is no bloom filter; give keys")
        if storage.takes_refs(found, len(request.key_refs)):
            refs = list(request.key_refs)
            there, values = storage.lookup(found, refs, request.flags, delete=request.delete)
            width = found.shape.value_size
            return maps_pb2.LookupResponse(found=there, values=values, value_stride=width)
        found.check_readable()
        count = found.key_count("keys", request.keys)
        found.check_answer(count)
        try:
            there, values = map_io.lookup(
                found.fd,
                found.shape,
                request.keys,
                request.flags,
                delete=request.delete,
                cancelled=cancelled,
            )
        except OSError as error:
            key = request.keys[: found.shape.key_size]
            raise found.error("a lookup", error.errno or 0, key=key) from None
    return maps_pb2.LookupResponse(
        found=there, values=values, value_stride=found.shape.value_size
    )


def _pop(
    found: OpenMap, request: maps_pb2.LookupRequest, cancelled: Cancel
) -> maps_pb2.LookupResponse:
    found.key_count("keys", request.keys)
    if found.shape.type == MapType.BLOOM_FILTER:
        return _contains(found, request, cancelled)
    if request.values:
        raise InvalidArgument("values", f"{found} is no bloom filter")
    most = request.pop or 1
    if not request.delete and most > 1:
        raise InvalidArgument(
            "pop", f"{found} shows its next value only; set `delete` to take out several"
        )
    found.check_answer(min(most, found.shape.max_entries))
    try:
        values = map_io.pop(
            found.fd,
            found.shape,
            min(most, found.shape.max_entries),
            delete=request.delete,
            cancelled=cancelled,
        )
    except OSError as error:
        raise found.error("a lookup", error.errno or 0) from None
    width = found.shape.value_size
    count = len(values) // width
    return maps_pb2.LookupResponse(found=b"\1" * count, values=values, value_stride=width)


def _contains(
    found: OpenMap, request: maps_pb2.LookupRequest, cancelled: Cancel
) -> maps_pb2.LookupResponse:
    width = found.shape.value_size
    if not request.values or request.pop or request.delete:
        raise InvalidArgument(
            "values", f"{found} is a bloom filter: give values, to ask whether it has them"
        )
    found.check_values("values", request.values, len(request.values) // width)
    try:
        there = map_io.contains(found.fd, found.shape, request.values, cancelled)
    except OSError as error:
        raise found.error("a lookup", error.errno or 0) from None
    return maps_pb2.LookupResponse(found=there)


def update(
    objects: Objects, request: maps_pb2.UpdateRequest, cancelled: Cancel
) -> maps_pb2.UpdateResponse:
    """Writes entries, in their order, up to the first one that fails."""
    if request.mode not in _MODES:
        raise InvalidArgument("mode", f"{request.mode} is no mode of an update")
    if request.flags & (BPF_NOEXIST | BPF_EXIST):
        raise InvalidArgument("flags", "BPF_NOEXIST and BPF_EXIST are said by `mode`")
    flags = request.flags | _MODES[request.mode]
    with opened(objects, request.map) as found:
        found.check_entries()
        if storage.takes_refs(found, len(request.key_refs)):
            found.check_values("values", request.values, len(request.key_refs))
            refs = list(request.key_refs)
            done = storage.update(found, refs, request.values, flags)
            return maps_pb2.UpdateResponse(updated=done)
        size = found.shape.key_size
        count = found.key_count("keys", request.keys)
        if size:
            found.check_new_keys("keys", request.keys)
        else:
            count = max(1, len(request.values) // max(1, found.shape.value_size))
        if _by_reference(found, request):
            references.check(found, list(request.refs), count)
            done, failed = references.update(
                objects, found, request.keys, list(request.refs), flags, cancelled
            )
        else:
            found.check_values("values", request.values, count)
            done, failed = map_io.update(
                found.fd, found.shape, request.keys, request.values, flags, cancelled
            )
        if failed:
            key = request.keys[done * size : (done + 1) * size]
            raise found.error("an update", failed, done, key)
    return maps_pb2.UpdateResponse(updated=done)


def _by_reference(found: OpenMap, request: maps_pb2.UpdateRequest) -> bool:
    kind = references.KINDS.get(found.shape.type)
    if kind is None:
        if request.refs:
            raise InvalidArgument("refs", f"the values of {found} are bytes; give `values`")
        return False
    if found.shape.type in references.PARTLY and not request.refs:
        references.check_raw(found, request.values)
        return False
    if request.values:
        raise InvalidArgument(
            "refs", f"the values of {found} are {kind}s: give `refs` and no `values`"
        )
    return True


def delete(
    objects: Objects, request: maps_pb2.DeleteRequest, cancelled: Cancel
) -> maps_pb2.DeleteResponse:
    """Deletes entries by key, or all."""
    with opened(objects, request.map) as found:
        found.check_entries()
        if request.all == bool(request.keys or request.key_refs):
            raise InvalidArgument("keys", "give keys, or `all`, and not both")
        if found.shape.type in map_io.ARRAYS:
            raise InvalidArgument(
                "map", f"{found} is an array, whose entries cannot be deleted; write zeros"
            )
        if request.all:
            return _delete_all(found, cancelled)
        if storage.takes_refs(found, len(request.key_refs)):
            deleted, missing = storage.delete(found, list(request.key_refs))
            return maps_pb2.DeleteResponse(deleted=deleted, missing=missing)
        found.key_count("keys", request.keys)
        if not found.shape.key_size:
            raise InvalidArgument("map", f"{found} is a {found.type_name}; pop its values")
        found.check_new_keys("keys", request.keys)
        deleted, missing, failed = map_io.delete(found.fd, found.shape, request.keys, cancelled)
        if failed:
            at = (deleted + missing) * found.shape.key_size
            key = request.keys[at : at + found.shape.key_size]
            raise found.error("a deletion", failed, deleted, key)
    return maps_pb2.DeleteResponse(deleted=deleted, missing=missing)


def _delete_all(found: OpenMap, cancelled: Cancel) -> maps_pb2.DeleteResponse:
    shape = found.shape
    try:
        if shape.type in (MapType.QUEUE, MapType.STACK):
            values = map_io.pop(
                found.fd, shape, shape.max_entries, delete=True, cancelled=cancelled
            )
            return maps_pb2.DeleteResponse(deleted=len(values) // shape.value_size)
        if not shape.key_size:
            raise found.error("a deletion", ENOTSUPP)
        if shape.type in storage.BY_FD:
            storage.check_listed(found)
            there = [each.ref for each in storage.entries(found)]
            return maps_pb2.DeleteResponse(deleted=storage.delete(found, there)[0])
        deleted, failed = map_io.clear(found.fd, shape, cancelled)
    except OSError as error:
        raise found.error("a deletion", error.errno or 0) from None
    if failed:
        raise found.error("a deletion", failed, deleted)
    return maps_pb2.DeleteResponse(deleted=deleted)
