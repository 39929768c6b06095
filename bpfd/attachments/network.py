# SPDX-License-Identifier: Apache-2.0
"""Programs of network namespaces: on interfaces, in routes, of the namespaces themselves."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bpfd.attachments.links import Links, Where
from bpfd.kernel import devices, holders, netns, route, syscall, tc_dump
from bpfd.kernel.constants import AttachType, LinkType, ProgType
from bpfd.kernel.holders import Opened
from bpfd.v1 import attach_pb2, common_pb2, links_pb2

T = TypeVar("T")

_TC = frozenset({ProgType.SCHED_CLS})
_LWT = frozenset({ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL})
_NAMESPACE_HOOKS = {
    ProgType.FLOW_DISSECTOR: AttachType.FLOW_DISSECTOR,
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
}
_TCX = (
    (AttachType.TCX_INGRESS, attach_pb2.TC_DIRECTION_INGRESS),
    (AttachType.TCX_EGRESS, attach_pb2.TC_DIRECTION_EGRESS),
)
_NETKIT = (AttachType.NETKIT_PRIMARY, AttachType.NETKIT_PEER)


@dataclass(frozen=True)
class _Inside:
    """A namespace that the thread is in, and what is looked for there."""

    namespace: links_pb2.NetworkNamespace
    links: Links
    types: Collection[int]
    unknown_hooks: set[int]
    """Attach types that this kernel does not know."""

    def interface(self, device: devices.Device) -> common_pb2.Interface:
        found = common_pb2.Interface(name=device.name)
        if self.namespace.path:
            found.netns.CopyFrom(self.reference())
        return found

    def reference(self) -> common_pb2.Netns:
        if self.namespace.name:
            return common_pb2.Netns(name=self.namespace.name)
        return common_pb2.Netns(path=self.namespace.path)

    def message(
        self, program_id: int, device: devices.Device | None = None
    ) -> links_pb2.Attachment:
        found = links_pb2.Attachment(program_id=program_id, netns_inode=self.namespace.inode)
        if device is not None:
            found.ifindex, found.interface = device.ifindex, device.name
        return found


def namespaces(opened: Opened) -> Iterator[links_pb2.NetworkNamespace]:
    """Every network namespace that something leads to, the daemon's own first."""
    pids = netns.processes()
    own = netns.own().inode
    for each in netns.everywhere(opened.namespaces):
        folder, _, name = each.path.rpartition("/")
        pid = pids.get(each.inode, 0)
        yield links_pb2.NetworkNamespace(
            inode=each.inode,
            name=name if folder in netns.NAMED else "",
            path="" if each.inode == own else each.path,
            pid=pid,
            comm=holders.comm(pid) if pid else "",
        )


def attachments(
    found: Collection[links_pb2.NetworkNamespace],
    links: Links,
    types: Collection[int],
    leave_out: Callable[[str, str], None],
) -> Iterator[links_pb2.Attachment]:
    """Programs in these namespaces, as far as programs of these types may be there."""
    unknown: set[int] = set()
    for namespace in found:
        inside = _Inside(namespace, links, types, unknown)
        try:
            with netns.entered(namespace.path or None):
                messages = list(_in_namespace(inside))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
                what = namespace.path or "the daemon's own"
                leave_out(f"network namespace {what}", error.strerror or str(error))
            continue
        yield from messages


def _in_namespace(inside: _Inside) -> Iterator[links_pb2.Attachment]:
    every = devices.devices()
    qdiscs: dict[int, list[tc_dump.Qdisc]] = {}
    if _TC & set(inside.types):
        for qdisc in tc_dump.qdiscs():
            qdiscs.setdefault(qdisc.ifindex, []).append(qdisc)
    for device in every:
        yield from _xdp(inside, device)
        if ProgType.SCHED_CLS in inside.types:
            yield from _tc(inside, device, qdiscs.get(device.ifindex, []))
    for program_type, attach_type in _NAMESPACE_HOOKS.items():
        if program_type in inside.types:
            yield from _namespace_hook(inside, attach_type)
    if _LWT & set(inside.types):
        yield from _routes(inside, {each.ifindex: each for each in every})


def _xdp(inside: _Inside, device: devices.Device) -> Iterator[links_pb2.Attachment]:
    for mode, program_id in (
        (attach_pb2.XDP_MODE_OFFLOAD, device.xdp.offload),
        (attach_pb2.XDP_MODE_NATIVE, device.xdp.native),
        (attach_pb2.XDP_MODE_GENERIC, device.xdp.generic),
    ):
        if not program_id:
            continue
        message = inside.message(program_id, device)
        message.method = links_pb2.ATTACHMENT_METHOD_NETLINK
        message.point.xdp.interface.CopyFrom(inside.interface(device))
        message.point.xdp.mode = mode
        inside.links.match(message, Where(LinkType.XDP, program_id, ifindex=device.ifindex))
        yield message


def _tc(
    inside: _Inside, device: devices.Device, qdiscs: list[tc_dump.Qdisc]
) -> Iterator[links_pb2.Attachment]:
    """In the order of running: of each direction tcx before filters."""
    ingress = [each for each in qdiscs if each.is_ingress]
    others = [each for each in qdiscs if not each.is_ingress]
    for attach_type, direction in _TCX:
        for message in _multi(inside, device, attach_type):
            message.point.tc.interface.CopyFrom(inside.interface(device))
            message.point.tc.direction = direction
            message.point.tc.method = attach_pb2.TC_METHOD_TCX
            yield message
        yield from _filters(inside, device, ingress, direction)
    yield from _filters(inside, device, others, attach_pb2.TC_DIRECTION_EGRESS)
    if device.kind == "netkit":
        for attach_type in _NETKIT:
            for message in _multi(inside, device, attach_type):
                message.point.netkit.interface.CopyFrom(inside.interface(device))
                message.point.netkit.peer = attach_type == AttachType.NETKIT_PEER
                yield message


def _multi(
    inside: _Inside, device: devices.Device, attach_type: int
) -> Iterator[links_pb2.Attachment]:
    """Programs of a hook with several, as the kernel orders them."""
    if attach_type in inside.unknown_hooks:
        return
    try:
        query = syscall.query(device.ifindex, attach_type)
    except OSError as error:
        if error.errno == errno.EINVAL:
            inside.unknown_hooks.add(attach_type)
        return
    pairs = zip(query.program_ids, query.link_ids, strict=True)
    for position, (program_id, link_id) in enumerate(pairs, 1):
        message = inside.message(program_id, device)
        message.method = links_pb2.ATTACHMENT_METHOD_PROG_ATTACH
        message.attach_type = attach_type
        message.position, message.revision = position, query.revision
        inside.links.take(message, link_id)
        yield message


def _filters(
    inside: _Inside,
    device: devices.Device,
    qdiscs: list[tc_dump.Qdisc],
    direction: attach_pb2.TcDirection.ValueType,
) -> Iterator[links_pb2.Attachment]:
    """The filters of one direction; clsact has one parent for each."""
    side = (
        tc_dump.INGRESS_PARENT
        if direction == attach_pb2.TC_DIRECTION_INGRESS
        else tc_dump.EGRESS_PARENT
    )
    for qdisc in qdiscs:
        position = 0
        for parent in _gone_is_empty(partial(tc_dump.parents, qdisc)):
            if qdisc.kind == "clsact" and parent != side:
                continue
            if qdisc.kind == "ingress" and side != tc_dump.INGRESS_PARENT:
                continue
            for found in _gone_is_empty(partial(tc_dump.filters, device.ifindex, parent)):
                position += 1
                message = inside.message(found.program_id, device)
                message.position = position
                message.method = links_pb2.ATTACHMENT_METHOD_FILTER
                message.point.tc.interface.CopyFrom(inside.interface(device))
                message.point.tc.direction = direction
                message.point.tc.method = attach_pb2.TC_METHOD_CLSACT
                message.point.tc.priority = found.priority
                message.point.tc.handle = found.handle
                message.filter.CopyFrom(_filter_message(found, qdisc))
                yield message


def _gone_is_empty(list_them: Callable[[], Iterable[T]]) -> list[T]:
    """What was listed; nothing where it vanished meanwhile, or the kernel has no such."""
    with contextlib.suppress(OSError):
        return list(list_them())
    return []


def _filter_message(found: tc_dump.BpfFilter, qdisc: tc_dump.Qdisc) -> links_pb2.TcFilter:
    return links_pb2.TcFilter(
        kind="bpf",
        priority=found.priority,
        handle=found.handle,
        protocol=found.protocol,
        chain=found.chain,
        direct_action=found.direct_action,
        name=found.name,
        parent=found.parent,
        block=found.block,
        class_id=found.class_id,
        hardware_flags=found.hardware_flags,
        qdisc=qdisc.kind,
    )


def _namespace_hook(inside: _Inside, attach_type: int) -> Iterator[links_pb2.Attachment]:
    target = netns.open_namespace(netns.own().path)
    try:
        query = syscall.query(target, attach_type)
    except OSError:
        return
    finally:
        os.close(target)
    for position, program_id in enumerate(query.program_ids, 1):
        message = inside.message(program_id)
        message.method = links_pb2.ATTACHMENT_METHOD_PROG_ATTACH
        message.attach_type = attach_type
        reference = inside.reference() if inside.namespace.path else None
        if attach_type == AttachType.SK_LOOKUP:
            message.position = position
            message.point.sk_lookup.CopyFrom(attach_pb2.SkLookup(netns=reference))
        else:
            message.point.flow_dissector.CopyFrom(attach_pb2.FlowDissector(netns=reference))
        place = Where(
            LinkType.NETNS, program_id, attach_type, netns_inode=inside.namespace.inode
        )
        inside.links.match(message, place)
        yield message


def _routes(
    inside: _Inside, by_index: dict[int, devices.Device]
) -> Iterator[links_pb2.Attachment]:
    for tunnel in _gone_is_empty(route.tunnels):
        device = by_index.get(tunnel.ifindex)
        message = inside.message(tunnel.program_id, device)
        message.method = links_pb2.ATTACHMENT_METHOD_ROUTE
        message.member = tunnel.name
        message.target_name = {route.IN: "in", route.OUT: "out", route.XMIT: "xmit"}.get(
            tunnel.hook, "seg6local"
        )
        message.point.lwt.prefix = tunnel.prefix
        if device is not None:
            message.point.lwt.interface.CopyFrom(inside.interface(device))
        yield message
