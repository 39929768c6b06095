# SPDX-License-Identifier: Apache-2.0
"""Lookups and changes of map entries. Functions block: call them in worker threads."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bpfd.errors import InvalidArgument, KernelError, NotFound
from bpfd.kernel import cgroup, map_io
from bpfd.kernel.constants import BPF_EXIST, BPF_NOEXIST, ENOTSUPP, MapType
from bpfd.kernel.map_io import Cancel
from bpfd.maps.check import KEYLESS, OpenMap, open_map
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, maps_pb2

_REFERENCES: dict[int, str] = {
    MapType.PROG_ARRAY: "program",
    MapType.ARRAY_OF_MAPS: "map",
    MapType.HASH_OF_MAPS: "map",
    MapType.CGROUP_ARRAY: "cgroup",
}
"""Types whose values are file descriptors of the writer."""

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
        raise InvalidArgument("map", f"{found} is a bloom filter, whose values cannot be read")
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


def update(
    objects: Objects, request: maps_pb2.UpdateRequest, cancelled: Cancel
) -> maps_pb2.UpdateResponse:
    """Writes entries, in their order, up to the first one that fails."""
    if request.mode not in _MODES:
        raise InvalidArgument("mode", f"{request.mode} is no mode of an update")
    if request.flags & (BPF_NOEXIST | BPF_EXIST):
        raise InvalidArgument("flags", "BPF_NOEXIST and BPF_EXIST are said by `mode`")
    flags = request.flags | _MODES[request.mode]
    with ExitStack() as stack:
        found = stack.enter_context(opened(objects, request.map))
        size = found.shape.key_size
        if size:
            count = found.key_count("keys", request.keys)
            found.check_new_keys("keys", request.keys)
        else:
            found.key_count("keys", request.keys)
            count = max(1, len(request.values) // found.shape.value_size)
        values = request.values
        kind = _REFERENCES.get(found.shape.type)
        if kind is None:
            if request.refs:
                raise InvalidArgument("refs", f"the values of {found} are bytes; give `values`")
            found.check_values("values", values, count)
        else:
            values = _references(objects, stack, found, kind, request, count)
        done, failed = map_io.update(
            found.fd, found.shape, request.keys, values, flags, cancelled
        )
        if failed:
            key = request.keys[done * size : (done + 1) * size]
            raise found.error("an update", failed, done, key)
    return maps_pb2.UpdateResponse(updated=done)


def _references(
    objects: Objects,
    stack: ExitStack,
    found: OpenMap,
    kind: str,
    request: maps_pb2.UpdateRequest,
    count: int,
) -> bytes:
    """File descriptors, as values, for the time of the stack."""
    if request.values or len(request.refs) != count:
        raise InvalidArgument(
            "refs",
            f"the values of {found} are {kind}s: give {count} `refs` and no `values`",
        )
    fds = []
    for index, ref in enumerate(request.refs):
        if ref.WhichOneof("ref") != kind:
            raise InvalidArgument(f"refs[{index}]", f"{found} takes a {kind}")
        if kind == "program":
            program, _ = stack.enter_context(objects.program_fd(ref.program))
            fds.append(program.fd)
        elif kind == "map":
            fds.append(stack.enter_context(objects.map_fd(ref.map)))
        else:
            fds.append(_cgroup(stack, ref.cgroup))
    return struct.pack(f"={len(fds)}I", *fds)


def _cgroup(stack: ExitStack, ref: common_pb2.Cgroup) -> int:
    try:
        if ref.WhichOneof("ref") == "id":
            path = cgroup.path_of_id(ref.id)
        else:
            path = cgroup.absolute(ref.path)
        fd = cgroup.open_path(path)
    except FileNotFoundError:
        raise NotFound("cgroup", ref.path or f"id {ref.id}") from None
    except cgroup.NotVersion2:
        raise InvalidArgument("refs", f"{ref.path} is no cgroup of version 2") from None
    except OSError as error:
        raise KernelError("opening a cgroup", error.errno or 0) from None
    stack.callback(os.close, fd)
    return fd


def delete(
    objects: Objects, request: maps_pb2.DeleteRequest, cancelled: Cancel
) -> maps_pb2.DeleteResponse:
    """Deletes entries by key, or all."""
    with opened(objects, request.map) as found:
        found.check_entries()
        if request.all == bool(request.keys):
            raise InvalidArgument("keys", "give keys, or `all`, and not both")
        if found.shape.type in map_io.ARRAYS:
            raise InvalidArgument(
                "map", f"{found} is an array, whose entries cannot be deleted; write zeros"
            )
        if request.all:
            return _delete_all(found, cancelled)
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
        deleted, failed = map_io.clear(found.fd, shape, cancelled)
    except OSError as error:
        raise found.error("a deletion", error.errno or 0) from None
    if failed:
        raise found.error("a deletion", failed, deleted)
    return maps_pb2.DeleteResponse(deleted=deleted)
