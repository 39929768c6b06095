# SPDX-License-Identifier: Apache-2.0
"""Every program and link of the kernel, foreign ones too, as messages.

What vanishes while it is being listed is left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

from bpfd.attach import told_functions
from bpfd.attach.told import told_point
from bpfd.kernel import holders, host, libbpf, program_dump, syscall
from bpfd.kernel.constants import Cmd, LinkType, name_of
from bpfd.kernel.info import LinkInfo, ProgInfo, fdinfo, link_info, prog_info, prog_map_ids
from bpfd.objects.registry import Registry
from bpfd.v1 import common_pb2, links_pb2

_FULL_NAME_BYTES = 15
"""A kernel name of this length may have been cut."""


@contextmanager
def each_fd(next_id: int, get_fd: int) -> Iterator[Iterator[int]]:
    """File descriptors of everything of a kind, one open at a time."""

    def walk() -> Generator[int, None, None]:
        for number in syscall.ids(next_id):
            try:
                fd = syscall.fd_by_id(get_fd, number)
            except FileNotFoundError:
                continue
            try:
                yield fd
            finally:
                os.close(fd)

    with closing(walk()) as iterator:
        yield iterator


def programs(
    registry: Registry, types: set[int], owners: bool
) -> list[common_pb2.KernelProgram]:
    """Every program; with `owners` also who holds and pins it, and its links."""
    members = registry.program_members()
    found = []
    with each_fd(Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID) as fds:
        for fd in fds:
            info = prog_info(fd)
            if not types or info.type in types:
                found.append(program_message(fd, info, members))
    if owners:
        _add_program_owners(found)
    return found


def program(
    registry: Registry, ref: common_pb2.ProgramRef, owners: bool
) -> common_pb2.KernelProgram:
    """One program."""
    with registry.program(ref) as (held, _):
        message = program_message(held.fd, prog_info(held.fd), registry.program_members())
    if owners:
        _add_program_owners([message])
    return message


def _add_program_owners(found: list[common_pb2.KernelProgram]) -> None:
    processes = holders.all_processes(holders.PROGRAM)
    add_program_owners(found, processes, holders.all_pins(holders.PROGRAM), link_infos())


def link_infos() -> list[LinkInfo]:
    """Every link of the kernel."""
    with each_fd(Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID) as fds:
        return [link_info(fd) for fd in fds]


def add_program_owners(
    found: list[common_pb2.KernelProgram],
    processes: dict[int, list[holders.Holder]],
    pins: dict[int, list[str]],
    links: list[LinkInfo],
) -> None:
    """Puts into programs who holds and pins them, and their links."""
    by_program: dict[int, list[int]] = {}
    for link in links:
        by_program.setdefault(link.prog_id, []).append(link.id)
    for message in found:
        message.holders.extend(
            common_pb2.Holder(pid=each.pid, comm=each.comm)
            for each in processes.get(message.id, [])
        )
        message.pinned_paths.extend(pins.get(message.id, []))
        message.link_ids.extend(by_program.get(message.id, []))


def program_message(
    fd: int, info: ProgInfo, members: dict[int, tuple[str, str]]
) -> common_pb2.KernelProgram:
    """A program as the API shows it."""
    kernel_name = info.name.decode(errors="replace")
    owner, name = members.get(info.id, ("", ""))
    message = common_pb2.KernelProgram(
        id=info.id,
        type=info.type,
        name=name or _full_name(fd, info, kernel_name),
        kernel_name=kernel_name,
        tag=bytes(info.tag),
        gpl_compatible=bool(info.gpl_compatible & 1),
        uid=info.created_by_uid,
        bytes_xlated=info.xlated_prog_len,
        jited=bool(info.jited_prog_len),
        bytes_jited=info.jited_prog_len,
        bytes_memlock=int(fdinfo(fd).get("memlock", 0)),
        map_ids=prog_map_ids(fd, info),
        btf_id=info.btf_id,
        verified_insns=info.verified_insns,
        run_time_ns=info.run_time_ns,
        run_count=info.run_cnt,
        recursion_misses=info.recursion_misses,
        attach_btf_id=info.attach_btf_id,
        attach_btf_obj_id=info.attach_btf_obj_id,
        ifindex=info.ifindex,
        object=owner,
    )
    message.loaded_at.FromNanoseconds(host.clocks().boottime_epoch + info.load_time)
    return message


def _full_name(fd: int, info: ProgInfo, kernel_name: str) -> str:
    """The function's name in BTF where the kernel's own may have been cut."""
    if len(kernel_name) < _FULL_NAME_BYTES or not info.btf_id or not info.nr_func_info:
        return kernel_name
    records = program_dump.func_info(fd, info)
    if len(records) < 8:
        return kernel_name
    type_id = int.from_bytes(records[4:8], sys.byteorder)
    return libbpf.function_name(info.btf_id, type_id) or kernel_name


def links(registry: Registry) -> list[links_pb2.KernelLink]:
    """Every link of the kernel, with who holds and pins it."""
    with registry.lock:
        ours = {
            number: held.name for held in registry.links.values() for number in held.link_ids
        }
    processes = holders.all_processes(holders.LINK)
    pins = holders.all_pins(holders.LINK)
    found = []
    infos = link_infos()
    targets = told_functions.target_names(infos)
    for info in infos:
        message = links_pb2.KernelLink(
            id=info.id,
            type=info.type,
            type_name=name_of(LinkType, info.type) or f"type {info.type}",
            program_id=info.prog_id,
            attach_type=info.attach_type,
            ifindex=info.ifindex,
            cgroup_id=info.cgroup_id,
            netns_inode=info.netns_inode,
            map_id=info.map_id,
            target_name=info.target_name or targets.get(info.id, ""),
            offset=info.offset,
            target_btf_id=info.target_btf_id,
            target_obj_id=info.target_obj_id,
            target_program_id=told_functions.target_program(info),
            missed=info.missed,
            address=info.address,
            perf_type=info.perf_type,
            link=ours.get(info.id, ""),
            pinned_paths=pins.get(info.id, []),
        )
        point = told_point(info)
        if point.WhichOneof("point") is not None:
            message.point.CopyFrom(point)
        message.holders.extend(
            common_pb2.Holder(pid=each.pid, comm=each.comm)
            for each in processes.get(info.id, [])
        )
        if message.target_program_id and message.point.HasField("freplace"):
            message.point.freplace.function = message.target_name
        found.append(message)
    told_functions.add_places(found)
    return found
