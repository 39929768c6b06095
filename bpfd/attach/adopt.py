# SPDX-License-Identifier: Apache-2.0
"""Attachments that an earlier daemon left pinned, rebuilt from what the kernel says."""

from __future__ import annotations

import contextlib
import os

from bpfd import attach as hooks
from bpfd import errors
from bpfd.attach import (
    cgroup_link,
    cgroup_points,
    flow_dissector,
    freplace,
    iterator,
    kprobe,
    kprobe_multi,
    lsm,
    netfilter,
    netkit,
    netns_link,
    perf_event,
    raw_tracepoint,
    sk_lookup,
    sk_msg,
    sk_skb,
    sockmap,
    struct_ops,
    tc,
    tp_btf,
    tracepoint,
    tracing,
    uprobe,
    uprobe_multi,
    usdt,
    xdp,
)
from bpfd.attach.attachment import Attachment, Hook, Program
from bpfd.attach.perf_link import PERF_LINK
from bpfd.attach.probes import MULTI_LINK
from bpfd.kernel import cgroup, interface, netns, syscall, tracefs
from bpfd.kernel import perf_event as event_source
from bpfd.kernel.constants import AttachType, Cmd, LinkType, ProgType
from bpfd.kernel.info import LinkInfo, link_info, prog_info, uprobe_multi_places
from bpfd.kernel.libbpf import function_name
from bpfd.v1 import attach_pb2, common_pb2

_SOFTWARE, _BREAKPOINT = 1, 5  # enum perf_type_id, whose fixed numbers end there
_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = 1, 2, 3, 4, 5, 6
"""enum bpf_perf_event_type, kernel 6.6 (1b715e1b0ec5)."""
_MULTI_RETURN = 1
"""BPF_F_UPROBE_MULTI_RETURN."""

_BY_PROGRAM_TYPE: dict[int, Hook] = {
    ProgType.TRACEPOINT: tracepoint.HOOK,
    ProgType.KPROBE: uprobe.HOOK,
    ProgType.PERF_EVENT: perf_event.HOOK,
    ProgType.TRACING: tp_btf.HOOK,
}

_METHODS = {
    LinkType.PERF_EVENT: PERF_LINK,
    LinkType.RAW_TRACEPOINT: "raw tracepoint link",
    LinkType.KPROBE_MULTI: "kprobe multi link",
    LinkType.TRACING: "tracing link",
    LinkType.UPROBE_MULTI: MULTI_LINK,
}
"""Of links whose program the kernel does not exchange."""


def adopt(fds: list[int], point: attach_pb2.AttachPoint | None = None) -> Attachment:
    """The attachment behind links found pinned; takes the fds over unless it raises.

    `point` is where they were attached, for those who wrote it down; None: as far as the
    kernel tells (`find_point`). Raises NotSupported for links of a hook that has no file
    here, and InvalidArgument for no link or links of several kinds. The links may run several
    programs, after a kill while they were exchanged: `update` gives them one.
    """
    if not fds:
        raise errors.InvalidArgument("fds", "an attachment without links cannot be adopted")
    infos = [link_info(fd) for fd in fds]
    first = infos[0]
    if any(each.type != first.type for each in infos):
        raise errors.InvalidArgument("fds", "the links are not of one attachment")
    kind = point.WhichOneof("point") if point is not None else None
    hook = hooks.hook_of(kind) if kind is not None else _hook(first)
    if first.type == LinkType.XDP:
        return Attachment(hook, fds, _xdp_place(first)[0])
    if first.type == LinkType.TCX:
        return Attachment(hook, fds, "tcx")
    if first.type == LinkType.STRUCT_OPS:
        return struct_ops.StructOpsLink(hook, fds, struct_ops.LINK)
    if first.type == LinkType.ITER:
        return Attachment(hook, fds, iterator.METHOD)
    if first.type == LinkType.CGROUP:
        return cgroup_link.attachment(hook, fds, first.attach_type or 0)
    if first.type == LinkType.NETNS:
        return Attachment(hook, fds, netns_link.METHOD)
    if first.type == LinkType.SOCKMAP:
        return sockmap.linked(hook, fds, first.attach_type or 0)
    if first.type == LinkType.NETKIT:
        return Attachment(hook, fds, netkit.METHOD)
    if first.type == LinkType.NETFILTER:
        known = point.netfilter if point is not None and kind else None
        return netfilter.NetfilterLink(hook, fds, known)
    if point is not None and kind == "usdt":
        return usdt.UsdtAttachment(hook, fds, _METHODS[LinkType(first.type)], point.usdt, None)
    where = point if point is not None and point.WhichOneof("point") else find_point(fds)

    def again(program: Program) -> Attachment:
        if where.WhichOneof("point") is None:
            raise errors.NotSupported(
                f"replacing the program of a {hook.name} link from before the daemon's start",
                since="6.6",
                needs="detach it and attach the new program",
            )
        return hooks.attach(program, where)

    return Attachment(hook, fds, _METHODS[LinkType(first.type)], again=again)


def find_point(fds: list[int]) -> attach_pb2.AttachPoint:
    """Where links are attached, as far as the kernel tells; empty when it does not.

    What `point_of` leaves open is searched: an interface's namespace, a cgroup's path, a
    tracepoint's category.
    """
    if not fds:
        return attach_pb2.AttachPoint()
    info = link_info(fds[0])
    point = point_of(info, _program_type(info.prog_id))
    match point.WhichOneof("point"):
        case "xdp":
            mode, path = _xdp_place(info)
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
            _name_clock(point.perf_event)
        case "tracepoint":
            categories = tracefs.categories_of(point.tracepoint.name)
            point.tracepoint.category = categories[0] if categories else ""
    return point


def told_point(info: LinkInfo) -> attach_pb2.AttachPoint:
    """`point_of` without anything searched, for any link of the kernel."""
    ambiguous = info.type in (LinkType.RAW_TRACEPOINT, LinkType.TRACING)
    return point_of(info, _program_type(info.prog_id) if ambiguous else 0)


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


def _hook(info: LinkInfo) -> Hook:
    found: Hook | None = None
    match info.type:
        case LinkType.XDP:
            found = xdp.HOOK
        case LinkType.TCX:
            found = tc.HOOK
        case LinkType.CGROUP if info.attach_type is not None:
            found = cgroup_points.hook_of(info.attach_type)
        case LinkType.SOCKMAP if info.attach_type == AttachType.SK_MSG_VERDICT:
            found = sk_msg.HOOK
        case LinkType.SOCKMAP:
            found = sk_skb.HOOK
        case LinkType.NETNS if info.attach_type == AttachType.SK_LOOKUP:
            found = sk_lookup.HOOK
        case LinkType.NETNS if info.attach_type == AttachType.FLOW_DISSECTOR:
            found = flow_dissector.HOOK
        case LinkType.RAW_TRACEPOINT:
            kind = _program_type(info.prog_id)
            found = tp_btf.HOOK if kind == ProgType.TRACING else raw_tracepoint.HOOK
        case LinkType.NETKIT:
            found = netkit.HOOK
        case LinkType.NETFILTER:
            found = netfilter.HOOK
        case LinkType.STRUCT_OPS:
            found = struct_ops.HOOK
        case LinkType.ITER:
            found = iterator.HOOK
        case LinkType.UPROBE_MULTI:
            found = uprobe_multi.HOOK
        case LinkType.KPROBE_MULTI:
            found = kprobe_multi.HOOK
        case LinkType.TRACING if _program_type(info.prog_id) == ProgType.EXT:
            found = freplace.HOOK
        case LinkType.TRACING:
            found = lsm.HOOK if info.attach_type == AttachType.LSM_MAC else tracing.HOOK
        case LinkType.PERF_EVENT if info.perf_type in (_KPROBE, _KRETPROBE):
            found = kprobe.HOOK
        case LinkType.PERF_EVENT:
            found = _BY_PROGRAM_TYPE.get(_program_type(info.prog_id))
    if found is None:
        raise errors.NotSupported(f"adopting links of type {info.type}")
    return found


def _program_type(program_id: int) -> int:
    """The type of a program; 0: it is gone."""
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    except OSError:
        return 0
    try:
        return int(prog_info(fd).type)
    finally:
        os.close(fd)


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


def _xdp_place(info: LinkInfo) -> tuple[str, str]:
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
        with contextlib.suppress(OSError), netns.entered(namespace.path):
            for index in interface.names().values():
                if _is_linked(index, info):
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


def _name_clock(point: attach_pb2.PerfEvent) -> None:
    """The clocks have sources of their own inside the kernel (0d6d062ca27e), which sysfs
    does not list; who asked for them asked for a software event."""
    sources = event_source.sources().values()
    if sources and point.type > _BREAKPOINT and point.type not in sources:
        point.type = _SOFTWARE


def _name_cgroup(reference: common_pb2.Cgroup) -> None:
    """The id made a path, which says more; left as it is when the cgroup is gone."""
    with contextlib.suppress(OSError):
        reference.path = cgroup.path_of_id(reference.id)
