# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from bpfctl.visible.places import (
    attachment_row,
    class_name,
    flag_names,
    protocol,
    short,
    where,
)

from bpfd.v1 import attach_pb2, common_pb2, links_pb2
from tests.unit.bpfctl.visible.machines import BLUE, HOME, ROOT, egress, filtered, machine, xdp

MAP = common_pb2.KernelMap(id=3, name="calls", type=common_pb2.MAP_TYPE_PROG_ARRAY)


def text(message: links_pb2.Attachment) -> str:
    return where(message, machine(maps=[MAP]))


def point(**fields: Any) -> attach_pb2.AttachPoint:
    return attach_pb2.AttachPoint(**fields)


def test_where_is_what_attach_takes() -> None:
    from bpfctl.attachpoint import parse

    there = xdp(7, BLUE, "eth0", 1)
    assert text(there) == "xdp:eth0,mode=native,netns=blue"
    assert parse(text(there)) == there.point


def test_what_the_kernel_fixed_at_load_time() -> None:
    made = links_pb2.Attachment
    traced = made(point=point(tracing=attach_pb2.Tracing()), attach_type=24)
    assert text(traced) == "fentry:?"
    traced.target_name = "tcp_connect"
    assert text(traced) == "fentry:tcp_connect"
    hooked = made(point=point(lsm=attach_pb2.Lsm()), attach_type=27, target_name="file_open")
    assert text(hooked) == "lsm:file_open"
    raw = made(point=point(tp_btf=attach_pb2.TpBtf()), target_name="sys_enter")
    assert text(raw) == "tp_btf:sys_enter"
    walk = made(point=point(iterator=attach_pb2.Iterator(pid=3)), target_name="task")
    assert text(walk) == "iterator:task,pid=3"


def test_maps_have_names() -> None:
    by_call = links_pb2.Attachment(map_id=3, member="5", target_name="tail call")
    by_call.method = links_pb2.ATTACHMENT_METHOD_MAP_ENTRY
    assert text(by_call) == "tail call calls[5]"
    table = links_pb2.Attachment(map_id=3, member="ssthresh")
    table.point.struct_ops.map.id = 3
    assert text(table) == "struct_ops:calls.ssthresh"
    message = links_pb2.Attachment(map_id=3)
    message.point.sk_msg.map.id = 3
    assert text(message) == "sk_msg:3 (calls)"


def test_a_link_without_its_place() -> None:
    assert "nowhere" in text(links_pb2.Attachment(link_id=4, detached=True))
    assert text(links_pb2.Attachment(link_id=4, link_type_name="type 99")) == "type 99"


def test_short_names_the_namespace_that_is_not_the_daemons() -> None:
    told = machine()
    assert short(xdp(7, BLUE, "eth0", 1), told) == "xdp:eth0@blue"
    assert short(xdp(7, HOME, "eth0", 1), told) == "xdp:eth0"
    assert short(egress(7, f"{ROOT}/a/b"), told) == "cgroup_skb:…/b"
    probe = links_pb2.Attachment()
    probe.point.uprobe.binary, probe.point.uprobe.file_offset = "/lib/x/libc.so.6", 0x40
    assert short(probe, told) == "uprobe:libc.so.6:0x40"
    mark = links_pb2.Attachment()
    mark.point.tracepoint.category, mark.point.tracepoint.name = "sched", "sched_switch"
    assert short(mark, told) == "tracepoint:sched/sched_switch"


def test_words_of_numbers() -> None:
    assert flag_names(0) == []
    assert flag_names(2 | 64) == ["multi", "preorder"]
    assert flag_names(1 | 0x100) == ["override", "0x100"]
    assert (protocol(3), protocol(0x0800), protocol(0x88CC)) == ("all", "ip", "0x88cc")
    assert class_name(0x10000) == "1:"
    assert class_name(0x1000A) == "1:a"
    assert class_name(0xFFFFFFF2) == "ffff:fff2"


def test_row_leaves_out_what_is_not_there() -> None:
    row = attachment_row(xdp(7, BLUE, "eth0", 2), machine())
    assert row == {
        "prog_id": 7,
        "method": "netlink",
        "where": "xdp:eth0,mode=generic,netns=blue",
        "point": "xdp:eth0,mode=generic,netns=blue",
        "netns_ino": BLUE,
        "netns": "blue",
        "ifindex": 2,
        "ifname": "eth0",
    }


def test_row_of_a_filter() -> None:
    row = attachment_row(filtered(7, direct_action=True, parent=0xFFFFFFF2), machine())
    assert row["filter"] == {
        "kind": "bpf",
        "qdisc": "clsact",
        "parent": "ffff:fff2",
        "protocol": "all",
        "priority": 5,
        "handle": 1,
        "direct_action": True,
    }
    assert "netns" not in row
