# SPDX-License-Identifier: Apache-2.0
"""Where a link is attached: what the kernel tells, and what can be searched."""

from __future__ import annotations

import contextlib
import os

from bpfd.attach import xdp
from bpfd.attach.told import point_of, program_type_of
from bpfd.kernel import cgroup, interface, netns, syscall, tracefs
from bpfd.kernel import perf_event as event_source
from bpfd.kernel.constants import Cmd, LinkType
from bpfd.kernel.info import LinkInfo, link_info, prog_info, uprobe_multi_places
from bpfd.kernel.libbpf import function_name
from bpfd.v1 import attach_pb2, common_pb2

_SOFTWARE, _BREAKPOINT = 1, 5  # enum perf_type_id, whose fixed numbers end there


def find_point(fds: list[int]) -> attach_pb2.AttachPoint:
    """Where links are attached, as far as the kernel tells; empty when it does not.

    What `point_of` leaves open is searched: an interface's namespace, a cgroup's path, a
    tracepoint's category.
    """
    if not fds:
        return attach_pb2.AttachPoint()
    info = link_info(fds[0])
    point = point_of(info, program_type_of(info.prog_id))
    match point.WhichOneof("point"):
        case "xdp":
            mode, path = xdp_place(info)
            if path:
                point.xdp.interface.netns.path = path
            point.xdp.mode = {
                xdp.NATIVE: attach_pb2.XDP_MODE_NATIVE,
                xdp.GENERIC: attach_pb2.XDP_MODE_GENERIC,
            }.get(mode, attach_pb2.XDP_MODE_UNSPECIFIED)
        case "tc":
            if path := _tcx_namespace(info):
                point.tc.interface.netns.path = path
        case "netkit":
            _find_primary(info, point.netkit.interface)
        case str(kind) if info.type == LinkType.CGROUP:
            _name_cgroup(getattr(point, kind).cgroup)
        case "uprobe" if len(fds) > 1:
            _merge_uprobes(point, fds)
        case "uprobe_multi":
            _list_places(point.uprobe_multi, fds[0])
        case "sk_lookup" | "flow_dissector" as kind:
            _name_netns(info.netns_inode, getattr(point, kind).netns)
        case "iterator" if point.iterator.HasField("cgroup"):
            _name_cgroup(point.iterator.cgroup)
        case "freplace":
            point.freplace.function = _function_of(info)
        case "perf_event":
            name_clock(point.perf_event)
        case "tracepoint":
            categories = tracefs.categories_of(point.tracepoint.name)
            point.tracepoint.category = categories[0] if categories else ""
    return point


def _list_places(point: attach_pb2.UprobeMulti, fd: int) -> None:
    offsets, semaphores, cookies = uprobe_multi_places(fd)
    point.file_offsets.extend(offsets)
    if any(semaphores):
        point.semaphore_offsets.extend(semaphores)
    if any(cookies):
        point.cookies.extend(cookies)


def _merge_uprobes(point: attach_pb2.AttachPoint, fds: list[int]) -> None:
    """One uprobe for each place: how one link at many places is made without a kernel
    link for it."""
    infos = [link_info(fd) for fd in fds]
    merged = attach_pb2.UprobeMulti(
        binary=point.uprobe.binary,
        ret=point.uprobe.ret,
        file_offsets=[each.offset for each in infos],
    )
    if any(each.cookie for each in infos):
        merged.cookies.extend(each.cookie for each in infos)
    point.uprobe_multi.CopyFrom(merged)


def _function_of(info: LinkInfo) -> str:
    """Name of the function that a program replaces; "" when the target is gone."""
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, info.target_obj_id)
    except OSError:
        return ""
    try:
        return function_name(prog_info(fd).btf_id, info.target_btf_id)
    finally:
        os.close(fd)


def xdp_place(info: LinkInfo) -> tuple[str, str]:
    """(mode, namespace file) of an XDP link; "" for what was not found.

    Found is the first namespace in which that interface runs that program; "" is also the
    caller's own namespace.
    """
    for namespace in netns.everywhere():
        try:
            with netns.entered(namespace.path):
                state = interface.xdp_state(info.ifindex)
        except OSError:
            continue
        for mode, program_id in ((xdp.NATIVE, state.native), (xdp.GENERIC, state.generic)):
            if info.ifindex and program_id == info.prog_id:
                return mode, _foreign(namespace)
    return "", ""


def _tcx_namespace(info: LinkInfo) -> str:
    for namespace in netns.everywhere():
        try:
            with netns.entered(namespace.path):
                _, links = syscall.prog_query(info.ifindex, info.attach_type or 0)
        except OSError:
            continue
        if info.id in links:
            return _foreign(namespace)
    return ""


def _find_primary(info: LinkInfo, reference: common_pb2.Interface) -> None:
    """The device that a netkit link was made on: of a peer's link the kernel tells the peer."""
    for namespace in netns.everywhere():
        try:
            with netns.entered(namespace.path):
                indexes = interface.names().values()
                index = next((each for each in indexes if _is_linked(each, info)), 0)
        except OSError:
            continue
        if index:
            reference.ifindex = index
            if path := _foreign(namespace):
                reference.netns.path = path
            return


def _is_linked(index: int, info: LinkInfo) -> bool:
    try:
        _, links = syscall.prog_query(index, info.attach_type or 0)
    except OSError:
        return False
    return info.id in links


def _foreign(namespace: netns.Namespace) -> str:
    return "" if namespace.inode == netns.own().inode else namespace.path


def _name_netns(inode: int, reference: common_pb2.Netns) -> None:
    """Left as it is for the daemon's own namespace, and when nothing leads to it."""
    namespace = netns.find(inode)
    if namespace is not None and (path := _foreign(namespace)):
        reference.path = path


def name_clock(point: attach_pb2.PerfEvent) -> None:
    """The clocks have sources of their own inside the kernel (0d6d062ca27e), which sysfs
    does not list; who asked for them asked for a software event."""
    sources = event_source.sources().values()
    if sources and point.type > _BREAKPOINT and point.type not in sources:
        point.type = _SOFTWARE


def _name_cgroup(reference: common_pb2.Cgroup) -> None:
    """The id made a path, which says more; left as it is when the cgroup is gone."""
    with contextlib.suppress(OSError):
        reference.path = cgroup.path_of_id(reference.id)
