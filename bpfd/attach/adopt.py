# SPDX-License-Identifier: Apache-2.0
"""Attachments that an earlier daemon left pinned, rebuilt from what the kernel says."""

from __future__ import annotations

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
from bpfd.attach.chain import chain as xdp_chain
from bpfd.attach.found import find_point, xdp_place
from bpfd.attach.perf_link import PERF_LINK
from bpfd.attach.probes import MULTI_LINK
from bpfd.attach.told import program_type_of
from bpfd.kernel.constants import AttachType, LinkType, ProgType
from bpfd.kernel.info import LinkInfo, link_info
from bpfd.v1 import attach_pb2

_KPROBES = (3, 4)  # of enum bpf_perf_event_type: kprobe, kretprobe

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


def adopt(
    fds: list[int], point: attach_pb2.AttachPoint | None = None, name: str = ""
) -> Attachment:
    """The attachment behind links found pinned; takes the fds over unless it raises.

    `point` is where they were attached, for those who wrote it down; None: as far as the
    kernel tells (`find_point`). `name` is the link's, by which a chain knows its members.
    Raises NotSupported for links of a hook that has no file here, and InvalidArgument for no
    link or links of several kinds. The links may run several programs, after a kill while they
    were exchanged: `update` gives them one.
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
        if (member := xdp_chain.adopt(hook, fds, name)) is not None:
            return member
        return Attachment(hook, fds, xdp_place(first)[0])
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
            kind = program_type_of(info.prog_id)
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
        case LinkType.TRACING if program_type_of(info.prog_id) == ProgType.EXT:
            found = freplace.HOOK
        case LinkType.TRACING:
            found = lsm.HOOK if info.attach_type == AttachType.LSM_MAC else tracing.HOOK
        case LinkType.PERF_EVENT if info.perf_type in _KPROBES:
            found = kprobe.HOOK
        case LinkType.PERF_EVENT:
            found = _BY_PROGRAM_TYPE.get(program_type_of(info.prog_id))
    if found is None:
        raise errors.NotSupported(f"adopting links of type {info.type}")
    return found


__all__ = ["adopt", "find_point"]
