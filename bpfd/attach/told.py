# SPDX-License-Identifier: Apache-2.0
"""Where a link is attached, by what the kernel tells of it alone."""

from __future__ import annotations

import os

from bpfd.attach import cgroup_points, netfilter, sockmap
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType, Cmd, LinkType, ProgType
from bpfd.kernel.info import LinkInfo, prog_info
from bpfd.v1 import attach_pb2

_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = 1, 2, 3, 4, 5, 6
"""enum bpf_perf_event_type, kernel 6.6 (1b715e1b0ec5)."""
_MULTI_RETURN = 1
"""BPF_F_KPROBE_MULTI_RETURN and BPF_F_UPROBE_MULTI_RETURN."""


def told_point(info: LinkInfo) -> attach_pb2.AttachPoint:
    """`point_of` without anything searched, for any link of the kernel."""
    ambiguous = info.type in (LinkType.RAW_TRACEPOINT, LinkType.TRACING)
    return point_of(info, program_type_of(info.prog_id) if ambiguous else 0)


def point_of(info: LinkInfo, program_type: int = 0) -> attach_pb2.AttachPoint:
    """The attach point that a link's information amounts to; empty when it says nothing.

    Pure. `program_type` tells tp_btf from raw_tracepoint. Left open are what the kernel
    does not tell: namespaces, the mode of XDP, a tracepoint's category, sampling rates.
    """
    point = attach_pb2.AttachPoint()
    match info.type:
        case LinkType.XDP:
            point.xdp.interface.ifindex = info.ifindex
        case LinkType.TCX:
            point.tc.interface.ifindex = info.ifindex
            point.tc.method = attach_pb2.TC_METHOD_TCX
            point.tc.direction = (
                attach_pb2.TC_DIRECTION_EGRESS
                if info.attach_type == AttachType.TCX_EGRESS
                else attach_pb2.TC_DIRECTION_INGRESS
            )
        case LinkType.CGROUP:
            cgroup_points.fill(info, point)
        case LinkType.SOCKMAP:
            point = sockmap.point_of(info.map_id, info.attach_type or 0)
        case LinkType.NETNS if info.attach_type == AttachType.SK_LOOKUP:
            point.sk_lookup.SetInParent()
        case LinkType.NETNS if info.attach_type == AttachType.FLOW_DISSECTOR:
            point.flow_dissector.SetInParent()
        case LinkType.RAW_TRACEPOINT if program_type == ProgType.TRACING:
            point.tp_btf.cookie = info.cookie
            point.tp_btf.SetInParent()
        case LinkType.RAW_TRACEPOINT:
            point.raw_tracepoint.name = info.target_name
            point.raw_tracepoint.cookie = info.cookie
        case LinkType.TRACING if info.attach_type == AttachType.LSM_MAC:
            point.lsm.SetInParent()
        case LinkType.TRACING if program_type == ProgType.EXT:
            point.freplace.target.id = info.target_obj_id
        case LinkType.TRACING if program_type == ProgType.TRACING:
            point.tracing.SetInParent()
        case LinkType.NETKIT:
            point.netkit.peer = info.attach_type == AttachType.NETKIT_PEER
            if not point.netkit.peer:  # else the number is that of the peer device
                point.netkit.interface.ifindex = info.ifindex
        case LinkType.NETFILTER:
            point.netfilter.protocol_family = info.protocol_family
            point.netfilter.hook = info.hook
            point.netfilter.priority = info.priority
            point.netfilter.defragment = bool(info.flags & netfilter.DEFRAGMENT)
        case LinkType.STRUCT_OPS:
            point.struct_ops.map.id = info.map_id
        case LinkType.ITER:
            _iterator_point(info, point.iterator)
        case LinkType.UPROBE_MULTI:
            point.uprobe_multi.binary = info.target_name
            point.uprobe_multi.pid = info.pid
            point.uprobe_multi.ret = bool(info.flags & _MULTI_RETURN)
        case LinkType.KPROBE_MULTI:
            point.kprobe_multi.ret = bool(info.flags & _MULTI_RETURN)
        case LinkType.PERF_EVENT:
            _perf_point(info, point)
    return point


def _perf_point(info: LinkInfo, point: attach_pb2.AttachPoint) -> None:
    if info.perf_type in (_UPROBE, _URETPROBE):
        point.uprobe.binary = info.target_name
        point.uprobe.file_offset = info.offset
        point.uprobe.ret = info.perf_type == _URETPROBE
        point.uprobe.cookie = info.cookie
    elif info.perf_type in (_KPROBE, _KRETPROBE):
        if info.target_name:
            point.kprobe.function = info.target_name
            point.kprobe.offset = info.offset
        else:
            point.kprobe.address = info.address
        point.kprobe.ret = info.perf_type == _KRETPROBE
        point.kprobe.cookie = info.cookie
    elif info.perf_type == _TRACEPOINT:
        point.tracepoint.name = info.target_name
        point.tracepoint.cookie = info.cookie
    elif info.perf_type == _EVENT:
        point.perf_event.type = info.event_type
        point.perf_event.config = info.event_config
        point.perf_event.cookie = info.cookie


def _iterator_point(info: LinkInfo, point: attach_pb2.Iterator) -> None:
    point.SetInParent()
    if info.map_id:
        point.map.id = info.map_id
    elif info.cgroup_id:
        point.cgroup.id = info.cgroup_id
        point.cgroup_order = info.cgroup_order
    elif info.tid:
        point.tid = info.tid
    elif info.pid:
        point.pid = info.pid


def program_type_of(program_id: int) -> int:
    """The type of a program; 0: it is gone."""
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    except OSError:
        return 0
    try:
        return int(prog_info(fd).type)
    finally:
        os.close(fd)
