# SPDX-License-Identifier: Apache-2.0
"""Values that are things of the kernel: programs, maps, cgroups, sockets, interfaces, events.

The kernel takes them by file descriptors of the writer, so nobody but the daemon can write
them as bytes: a number that a client sends would be a descriptor of the daemon's own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import ExitStack

from bpfd.attach.place import located, opened_cgroup
from bpfd.attach.process_socket import opened_socket
from bpfd.errors import InvalidArgument, KernelError, NotSupported
from bpfd.kernel import map_io, perf_event
from bpfd.kernel.constants import MapType
from bpfd.maps.check import OpenMap
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, maps_pb2

KINDS: dict[int, str] = {
    MapType.PROG_ARRAY: "program",
    MapType.ARRAY_OF_MAPS: "map",
    MapType.HASH_OF_MAPS: "map",
    MapType.CGROUP_ARRAY: "cgroup",
    MapType.SOCKMAP: "socket",
    MapType.SOCKHASH: "socket",
    MapType.REUSEPORT_SOCKARRAY: "socket",
    MapType.XSKMAP: "socket",
    MapType.PERF_EVENT_ARRAY: "perf_event",
    MapType.DEVMAP: "device",
    MapType.DEVMAP_HASH: "device",
    MapType.CPUMAP: "cpu",
}
"""By type, the field of `ValueRef` that it takes."""

PARTLY = frozenset({MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP})
"""Types whose values are a number and perhaps a program."""

_PARTS = {
    "device": ("struct bpf_devmap_val", "an interface"),
    "cpu": ("struct bpf_cpumap_val", "a queue size"),
}


def check_raw(found: OpenMap, values: bytes) -> None:
    """Raises InvalidArgument for values of `PARTLY` that hold a file descriptor."""
    width = found.shape.value_size
    if width == 8 and any(
        values[at + 4 : at + 8] not in (b"\0\0\0\0", b"\xff\xff\xff\xff")
        for at in range(0, len(values), 8)
    ):
        raise InvalidArgument(
            "values", f"the programs of {found} are given by name or id, as `refs`"
        )


def check(found: OpenMap, refs: list[maps_pb2.ValueRef], count: int) -> None:
    """Raises InvalidArgument for refs that the map does not take."""
    kind = KINDS[found.shape.type]
    if len(refs) != count:
        raise InvalidArgument(
            "refs",
            f"the values of {found} are {kind.replace('_', ' ')}s: give {count} `refs` and no "
            "`values`",
        )
    for index, ref in enumerate(refs):
        if ref.WhichOneof("ref") != kind:
            raise InvalidArgument(f"refs[{index}]", f"{found} takes a {kind}")


def update(
    objects: Objects,
    found: OpenMap,
    keys: bytes,
    refs: list[maps_pb2.ValueRef],
    flags: int,
    cancelled: map_io.Cancel,
) -> tuple[int, int]:
    """(entries written, errno of the first one that was not, or 0).

    Every reference but those of interfaces is found before anything is written. Raises
    NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    size = found.shape.key_size
    with ExitStack() as stack:
        if KINDS[found.shape.type] == "device":
            return _update_devices(objects, stack, found, keys, refs, flags, cancelled)
        width = found.shape.value_size
        values = bytearray()
        for index, ref in enumerate(refs):
            key = keys[index * size : (index + 1) * size]
            values += _value(objects, stack, found, ref, key).ljust(width, b"\0")
        fd = found.fd
        if found.shape.type == MapType.PERF_EVENT_ARRAY:
            fd = _held(objects, stack, found)
        return map_io.update(fd, found.shape, keys, bytes(values), flags, cancelled)


def _held(objects: Objects, stack: ExitStack, found: OpenMap) -> int:
    """The open file of the map that lasts: counters go when the file closes by which they were
    put in (perf_event_fd_array_release() of kernel/bpf/arraymap.c)."""
    member = objects.member_of_map(found.id)
    if member is None:
        raise InvalidArgument(
            "map", f"counters stay in {found} while it is held, and it is no object's here"
        )
    named = common_pb2.ObjectMember(object=member[0], name=member[1])
    return stack.enter_context(objects.map_fd(common_pb2.MapRef(member=named)))


def _value(
    objects: Objects, stack: ExitStack, found: OpenMap, ref: maps_pb2.ValueRef, key: bytes
) -> bytes:
    match ref.WhichOneof("ref"):
        case "program":
            program, _ = stack.enter_context(objects.program_fd(ref.program))
            fd = program.fd
        case "map":
            fd = stack.enter_context(objects.map_fd(ref.map))
        case "cgroup":
            fd, _ = stack.enter_context(opened_cgroup(ref.cgroup))
        case "socket":
            fd = stack.enter_context(opened_socket(ref.socket))
        case "perf_event":
            fd = _perf_event(stack, ref, int(map_io.indexes(key)[0]))
        case _:
            queue = ref.cpu.queue_size
            return _with_program(objects, stack, found, "cpu", queue, ref.cpu)
    return struct.pack("=Q" if found.shape.value_size == 8 else "=I", fd)


def _with_program(
    objects: Objects,
    stack: ExitStack,
    found: OpenMap,
    kind: str,
    number: int,
    ref: maps_pb2.DeviceValue | maps_pb2.CpuValue,
) -> bytes:
    """struct bpf_devmap_val or bpf_cpumap_val, or their first 4 bytes."""
    if not ref.HasField("program"):
        return struct.pack("=I", number)
    if found.shape.value_size < 8:
        name, alone = _PARTS[kind]
        raise InvalidArgument(
            "refs",
            f"values of {found} have 4 bytes and hold {alone} alone; declare them as {name} "
            "for programs in them",
        )
    return struct.pack("=II", number, _program(objects, stack, ref.program))


def _program(objects: Objects, stack: ExitStack, ref: common_pb2.ProgramRef) -> int:
    program, _ = stack.enter_context(objects.program_fd(ref))
    return program.fd


def _update_devices(
    objects: Objects,
    stack: ExitStack,
    found: OpenMap,
    keys: bytes,
    refs: list[maps_pb2.ValueRef],
    flags: int,
    cancelled: Callable[[], bool],
) -> tuple[int, int]:
    """One by one: the kernel looks the index up in the network namespace of the caller."""
    size = found.shape.key_size
    for index, ref in enumerate(refs):
        with located(ref.device.interface) as place:
            value = _with_program(objects, stack, found, "device", place.ifindex, ref.device)
            key = keys[index * size : (index + 1) * size]
            value = value.ljust(found.shape.value_size, b"\0")
            _, failed = map_io.update(found.fd, found.shape, key, value, flags, cancelled)
        if failed:
            return index, failed
    return len(refs), 0


def _perf_event(stack: ExitStack, ref: maps_pb2.ValueRef, index: int) -> int:
    event = ref.perf_event
    cpus = list(event.cpus) or [index]
    if len(cpus) > 1 or event.HasField("cgroup") or event.WhichOneof("sampling"):
        raise InvalidArgument("refs", "an entry is one counter: type, config, one CPU or a pid")
    pid = event.pid or -1
    cpu = -1 if event.pid and not event.cpus else cpus[0]
    try:
        fd = perf_event.open_counter(event.type, event.config, tid=pid, cpu=cpu)
    except (FileNotFoundError, PermissionError) as error:
        raise NotSupported(
            f"perf event {event.type}:{event.config}", needs=f"the kernel says {error.strerror}"
        ) from None
    except OSError as error:
        raise KernelError("opening a perf event", error.errno or 0) from None
    stack.callback(os.close, fd)
    return fd
