# SPDX-License-Identifier: Apache-2.0
"""A small machine, as a daemon would tell of it."""

from __future__ import annotations

from typing import Any

from bpfctl.visible import Machine

from bpfd.v1 import attach_pb2, common_pb2, links_pb2

HOME, BLUE = 4026531840, 4026532000
ROOT = "/sys/fs/cgroup"


def program(number: int, name: str, kind: int = 6, **fields: Any) -> common_pb2.KernelProgram:
    message = common_pb2.KernelProgram(id=number, name=name, tag=b"\1" * 8, **fields)
    message.type = common_pb2.ProgramType.ValueType(kind)
    return message


def xdp(
    number: int, netns: int, interface: str, mode: int, **fields: Any
) -> links_pb2.Attachment:
    message = links_pb2.Attachment(
        program_id=number,
        netns_inode=netns,
        ifindex=2,
        interface=interface,
        method=links_pb2.ATTACHMENT_METHOD_NETLINK,
    )
    message.point.xdp.interface.name = interface
    message.point.xdp.mode = attach_pb2.XdpMode.ValueType(mode)
    if netns == BLUE:
        message.point.xdp.interface.netns.name = "blue"
    return message


def tcx(number: int, position: int, link: int) -> links_pb2.Attachment:
    message = links_pb2.Attachment(
        program_id=number,
        link_id=link,
        link_type_name="tcx",
        method=links_pb2.ATTACHMENT_METHOD_LINK,
        netns_inode=HOME,
        ifindex=2,
        interface="eth0",
        position=position,
        holders=[common_pb2.Holder(pid=100, comm="proxy")],
    )
    message.point.tc.interface.name = "eth0"
    message.point.tc.direction = attach_pb2.TC_DIRECTION_INGRESS
    message.point.tc.method = attach_pb2.TC_METHOD_TCX
    return message


def filtered(number: int, **fields: Any) -> links_pb2.Attachment:
    message = tcx(number, 1, 0)
    message.method = links_pb2.ATTACHMENT_METHOD_FILTER
    message.point.tc.method = attach_pb2.TC_METHOD_CLSACT
    message.link_type_name = ""
    del message.holders[:]
    told = links_pb2.TcFilter(kind="bpf", priority=5, handle=1, protocol=3, qdisc="clsact")
    told.MergeFrom(links_pb2.TcFilter(**fields))
    message.filter.CopyFrom(told)
    return message


def egress(number: int, path: str, position: int = 1, **fields: Any) -> links_pb2.Attachment:
    message = links_pb2.Attachment(
        program_id=number,
        cgroup_path=path,
        cgroup_id=len(path),
        attach_type=1,
        position=position,
        method=links_pb2.ATTACHMENT_METHOD_PROG_ATTACH,
        **fields,
    )
    message.point.cgroup_skb.cgroup.path = path
    message.point.cgroup_skb.direction = attach_pb2.CGROUP_SKB_DIRECTION_EGRESS
    return message


def machine(
    *attachments: links_pb2.Attachment,
    programs: list[common_pb2.KernelProgram] | None = None,
    maps: list[common_pb2.KernelMap] | None = None,
) -> Machine:
    namespaces = [
        links_pb2.NetworkNamespace(inode=HOME, pid=1, comm="init"),
        links_pb2.NetworkNamespace(inode=BLUE, name="blue", path="/run/netns/blue"),
    ]
    return Machine(
        links_pb2.ListAttachmentsResponse(
            attachments=attachments,
            programs=programs or [],
            maps=maps or [],
            namespaces=namespaces,
            cgroup_root=ROOT,
        )
    )
