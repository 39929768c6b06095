# SPDX-License-Identifier: Apache-2.0
"""Maps that are memory: records into user ring buffers, bytes of arenas."""

from __future__ import annotations

import errno
import mmap
import threading

from bpfd.errors import InvalidArgument, KernelError, LimitExceeded, NotSupported
from bpfd.kernel import arena, host, user_ring
from bpfd.kernel.constants import MapType
from bpfd.kernel.info import map_info
from bpfd.maps.check import MAX_BYTES, OpenMap
from bpfd.maps.entries import opened
from bpfd.objects.objects import Objects
from bpfd.v1 import maps_pb2

_producing = threading.Lock()
"""A user ring buffer has one producer; calls on several maps are short enough to share it."""


def submit(objects: Objects, request: maps_pb2.SubmitRequest) -> maps_pb2.SubmitResponse:
    """Writes records into a user ring buffer, as far as they fit.

    Raises NotFound, InvalidArgument, LimitExceeded, NotSupported, KernelError.
    """
    with opened(objects, request.map) as found:
        if found.shape.type != MapType.USER_RINGBUF:
            raise InvalidArgument("map", f"{found} is a {found.type_name}, no user_ringbuf")
        if len(request.records) > MAX_BYTES:
            asked = len(request.records)
            raise LimitExceeded("bytes of one batch", MAX_BYTES, asked=asked)
        try:
            ends = user_ring.split(request.records)
        except user_ring.Damaged as error:
            raise InvalidArgument("records", str(error)) from None
        size = found.shape.max_entries
        longest = max(
            (end - start for start, end in zip([0, *ends], ends, strict=False)), default=0
        )
        if longest > size:
            raise LimitExceeded(f"bytes of a record of {found}", size - 8, asked=longest - 8)
        with _producing:
            try:
                ring = user_ring.UserRing(found.fd, size, host.host().pointer_bits)
            except OSError as error:
                raise KernelError(f"mapping {found}", error.errno or 0) from None
            try:
                done = ring.submit(request.records, ends)
                return maps_pb2.SubmitResponse(submitted=done, bytes_free=ring.free())
            finally:
                ring.close()


def read_arena(
    objects: Objects, request: maps_pb2.ReadArenaRequest
) -> maps_pb2.ReadArenaResponse:
    """Bytes of an arena. Raises NotFound, InvalidArgument, LimitExceeded, NotSupported."""
    with opened(objects, request.map) as found:
        address = _check(found, request.offset, request.size)
        try:
            pages = found.shape.max_entries
            data = arena.read(found.fd, address, pages, request.offset, request.size)
        except OSError as error:
            raise _failed(found, "reading", error, request.offset) from None
    return maps_pb2.ReadArenaResponse(data=data)


def write_arena(
    objects: Objects, request: maps_pb2.WriteArenaRequest
) -> maps_pb2.WriteArenaResponse:
    """Writes into an arena; raises as `read_arena`."""
    with opened(objects, request.map) as found:
        address = _check(found, request.offset, len(request.data))
        try:
            pages = found.shape.max_entries
            arena.write(found.fd, address, pages, request.offset, request.data)
        except OSError as error:
            raise _failed(found, "writing", error, request.offset) from None
    return maps_pb2.WriteArenaResponse()


def _check(found: OpenMap, offset: int, size: int) -> int:
    """The arena's address; 0: it does not say."""
    if found.shape.type != MapType.ARENA:
        raise InvalidArgument("map", f"{found} is a {found.type_name}, no arena")
    if not arena.possible():
        raise NotSupported("arenas", needs="a daemon of 64 bits")
    if size > MAX_BYTES:
        raise LimitExceeded("bytes of one call", MAX_BYTES, asked=size)
    whole = found.shape.max_entries * mmap.PAGESIZE
    if not size or offset + size > whole:
        raise InvalidArgument(
            "offset", f"{size} bytes at {offset}; {found} has {whole} bytes, from 0 on"
        )
    return int(map_info(found.fd).map_extra)


def _failed(found: OpenMap, operation: str, error: OSError, offset: int) -> Exception:
    if error.errno == errno.EFAULT:
        return InvalidArgument(
            "offset", f"no program has allocated a page of {found} at {offset}"
        )
    if error.errno in (errno.EBUSY, errno.EEXIST, errno.EINVAL):
        return NotSupported(
            f"{operation} {found}",
            needs="whoever made it mapped it at an address that the kernel does not tell; "
            "declare it with map_extra, the address for all",
        )
    return KernelError(f"{operation} {found}", error.errno or 0)
