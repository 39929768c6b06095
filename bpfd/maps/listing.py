# SPDX-License-Identifier: Apache-2.0
"""Maps of the kernel, foreign ones too, as messages.

What vanishes while it is being listed is left out.
"""

from __future__ import annotations

from typing import Any

from bpfd.kernel import holders
from bpfd.kernel.constants import Cmd
from bpfd.kernel.cpus import percpu_stride, possible_count
from bpfd.kernel.info import MapInfo, fdinfo, map_info
from bpfd.listing import each_fd
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2


def maps(objects: Objects, types: set[int], owners: bool) -> list[common_pb2.KernelMap]:
    """Every map of these types (empty: all); with `owners` also who holds and pins it."""
    members = objects.registry.map_members()
    found = []
    with each_fd(Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID) as fds:
        for fd in fds:
            info = map_info(fd)
            if not types or info.type in types:
                found.append(message(fd, info, members.get(info.id)))
    if owners:
        _add_owners(found)
    return found


def one(objects: Objects, ref: common_pb2.MapRef, owners: bool) -> common_pb2.KernelMap:
    """One map. Raises NotFound."""
    with objects.map_fd(ref) as fd:
        info = map_info(fd)
        found = message(fd, info, objects.member_of_map(info.id))
    if owners:
        _add_owners([found])
    return found


def _add_owners(found: list[common_pb2.KernelMap]) -> None:
    add_owners(found, holders.all_processes(holders.MAP), holders.all_pins(holders.MAP))


def add_owners(
    found: list[common_pb2.KernelMap],
    processes: dict[int, list[holders.Holder]],
    pins: dict[int, list[str]],
) -> None:
    """Puts into maps who holds and pins them."""
    for each in found:
        each.holders.extend(
            common_pb2.Holder(pid=holder.pid, comm=holder.comm)
            for holder in processes.get(each.id, [])
        )
        each.pinned_paths.extend(pins.get(each.id, []))


def describe(fd: int, member: tuple[str, str] | None) -> common_pb2.KernelMap:
    """The map behind an fd; `member` is its object and full name."""
    return message(fd, map_info(fd), member)


def message(fd: int, info: MapInfo, member: tuple[str, str] | None) -> common_pb2.KernelMap:
    """A map as the API shows it."""
    stride = percpu_stride(info)
    more = fdinfo(fd)
    owner, name = member or ("", "")
    program_type: Any = int(more.get("owner_prog_type", 0))
    return common_pb2.KernelMap(
        id=info.id,
        type=info.type,
        name=info.name.decode(errors="replace"),
        flags=info.map_flags,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        map_extra=info.map_extra,
        btf_id=info.btf_id,
        btf_key_type_id=info.btf_key_type_id,
        btf_value_type_id=info.btf_value_type_id,
        btf_vmlinux_value_type_id=info.btf_vmlinux_value_type_id,
        bytes_memlock=int(more.get("memlock", 0)),
        frozen=more.get("frozen", "0") == "1",
        ifindex=info.ifindex,
        percpu_stride=stride,
        percpu_count=possible_count() if stride else 0,
        owner_program_type=program_type,
        owner_jited=more.get("owner_jited", "0") == "1",
        object=owner,
        member=name,
    )
